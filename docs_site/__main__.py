"""Write the pages of the site into a folder: `python -m docs_site FOLDER`."""

import sys
from pathlib import Path

from docs_site.assemble import assemble

assemble(Path(sys.argv[1]))
