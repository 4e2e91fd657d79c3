"""Run the cases of this folder under the stand-in driver: python -m tests.stand_in [pytest's]."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.stand_in.build import CannotBuild, environment

if __name__ == "__main__":
    try:
        environ = environment()
    except CannotBuild as error:
        sys.exit(str(error))
    cases = [*("-o", "python_files=cases_*.py"), str(Path(__file__).parent)]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *cases, *sys.argv[1:]]
    sys.exit(subprocess.run(command, env=environ).returncode)
