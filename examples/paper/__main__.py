"""`python -m examples.paper`."""

import sys

from examples.paper.cli import main

sys.exit(main())
