"""What needs no extra works where none is installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.kit.shop import write_shop

# As Python sees a package that is not there.
WITHOUT_EXTRAS = """
import sys
sys.modules.update(dict.fromkeys(("scipy", "sklearn", "peft", "tensorboard", "bm25s", "ranx", "sentence_transformers")))
from pathlib import Path
from rich.console import Console
from neo_runtime.demo import quick
quick.STEPS = 2
data = Path(sys.argv[1])
quick.quick_model(data, [data / "items.jsonl"], data / "model", Console())
"""


def test_a_model_for_any_catalog_is_made_without_an_extra(tmp_path: Path) -> None:
    write_shop(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRAS, str(tmp_path)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    assert (tmp_path / "model" / "neo.json").exists()
