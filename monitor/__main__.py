"""python -m monitor FILE.csv"""

import sys

from monitor.alone import main

sys.exit(main())
