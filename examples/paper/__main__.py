"""`python -m examples.paper`."""

import os
import sys

# before TensorFlow is there: it takes the kernels of oneDNN by itself on some processors only. With them a step takes 0.75 to 0.9
# of the time, and a run can't go on without them that was begun with them, since they round differently
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

from examples.paper.cli import main

sys.exit(main())
