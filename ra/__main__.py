"""``python -m ra`` is the ``ra`` command."""

import sys

from ra.cli import main

sys.exit(main())
