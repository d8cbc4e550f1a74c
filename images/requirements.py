"""Print the requirements of some extras of pyproject.toml, one a line.

The images install them in a layer of their own: it stays the same until a requirement changes,
however often the code or the rest of pyproject.toml does.
"""

import pathlib
import sys
import tomllib

project = tomllib.loads(pathlib.Path("pyproject.toml").read_text())["project"]
lines = {*project["dependencies"]}
for extra in sys.argv[1:]:
    lines |= {*project["optional-dependencies"][extra]}
print("\n".join(sorted(lines)))
