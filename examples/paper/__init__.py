"""The experiments of arXiv:1706.00043, section 4 and appendix A.2, on the paper's data: `python -m examples.paper --help`."""

import os
import sys

# TensorFlow takes the kernels of oneDNN by itself on some processors only. With them a step takes 0.75 to 0.9 of the time, and a
# run that was begun with them can't go on without, since they round differently
if "tensorflow" not in sys.modules:
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
