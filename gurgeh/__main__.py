"""`python -m gurgeh`."""

import sys

from gurgeh.cli import main

sys.exit(main())
