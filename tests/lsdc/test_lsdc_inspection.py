"""Inspect on small data sets: what is missing is named, exit codes say whether anything is."""

from __future__ import annotations

import json
import subprocess
import sys

from lsdc_layout import write_lsdc
from lumbargrade.cli.main import main


def test_a_complete_data_set_is_all_good(tmp_path, capsys):
    write_lsdc(tmp_path, 2)
    assert main(["inspect", str(tmp_path), "--json"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["ok"]
    assert said["images"]["series_present"] == 6
    assert said["rows"]["foraminal"] == said["rows"]["canal"] == 2
    assert sum(said["folds"]) == 2


def test_missing_images_are_listed(tmp_path, capsys):
    write_lsdc(tmp_path, 3)
    images = tmp_path / "train_images"
    (images / "1000").rename(tmp_path / "elsewhere")
    (images / "1007/10071").rename(tmp_path / "elsewhere2")
    (images / "1014/10140/2.dcm").unlink()
    assert main(["inspect", str(tmp_path), "--json"]) == 1
    said = json.loads(capsys.readouterr().out.splitlines()[-1])["images"]
    assert said["missing_studies"] == ["1000"]
    assert said["missing_series"] == [["1007", "10071"]]
    assert said["missing_instances"] == [["1014", "10140", 2]]


def test_a_bad_table_is_named_without_a_traceback(tmp_path, capsys):
    write_lsdc(tmp_path, 1)
    table = tmp_path / "train.csv"
    table.write_text(table.read_text().replace("Severe", "Sever", 1))
    assert main(["inspect", str(tmp_path)]) == 3
    said = capsys.readouterr().err
    assert "train.csv, row 2" in said
    assert "'Sever'" in said


def test_usage(tmp_path, capsys):
    assert main(["inspect", str(tmp_path / "nowhere")]) == 2
    assert main(["inspect", str(tmp_path), "--split", "train"]) == 2
    assert "not an LSDC data set" in capsys.readouterr().err


def test_a_test_split(tmp_path, capsys):
    write_lsdc(tmp_path, 2, split="test")
    assert main(["inspect", str(tmp_path), "--json"]) == 0
    assert "fold sizes" not in capsys.readouterr().out


def test_it_needs_neither_torch_nor_pandas(tmp_path):
    write_lsdc(tmp_path, 1)
    code = (
        "import sys; from lumbargrade.cli.main import main; main(['inspect', sys.argv[1]]);"
        "sys.exit(bool({'torch', 'pandas', 'cv2', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
