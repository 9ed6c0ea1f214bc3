"""placeholder"""

from pathlib import Path
from pgha_orch.drills.results import DrillResult


def write(result: DrillResult, file: Path) -> None:
    file.write_text(result.model_dump_json())
