"""`python -m candelabra COMMAND ...`."""

import sys

from candelabra.cli import main

sys.exit(main())
