import shutil
import subprocess

import pytest
from typer.testing import CliRunner

from exporter.c.array import c_array
from exporter.c_arrays import write_accepted
from exporter.cli import app
from exporter.errors import ConversionError
from tests.unit.exporter.families import export, learn

PROGRAM = """
#include <stdint.h>
#include <stdio.h>
#include "model.int8.tflite.h"

int main(void) {
    if ((uintptr_t)model_int8_tflite % 16u != 0u) return 1;
    return fwrite(model_int8_tflite, 1, model_int8_tflite_len, stdout) == model_int8_tflite_len ? 0 : 2;
}
"""


@pytest.mark.parametrize(("command", "suffix"), [(["gcc", "-std=c11"], "c"), (["g++", "-std=c++11"], "cpp")])
def test_a_c_program_finds_the_files_bytes_in_the_header(command, suffix, tmp_path):
    if shutil.which(command[0]) is None:
        pytest.skip(f"no {command[0]} here: sudo apt-get install {command[0]}")
    report = export(learn("mlp", "digits"), tmp_path, "tflite-int8")
    header = write_accepted(report, tmp_path)
    assert header.name == "model.int8.tflite.h"
    source = tmp_path / f"main.{suffix}"
    # Twice: the guard keeps the second one out.
    source.write_text('#include "model.int8.tflite.h"\n' + PROGRAM)
    binary = tmp_path / "main"
    subprocess.run([*command, "-Wall", "-Wextra", "-Werror", "-o", binary, source], check=True)
    done = subprocess.run([binary], check=True, stdout=subprocess.PIPE)
    assert done.stdout == (tmp_path / "model.int8.tflite").read_bytes()


def test_an_export_without_the_variant_has_no_array(tmp_path):
    learnt = learn("ridge", "diabetes")
    with pytest.raises(ConversionError, match="it was not asked for: add --to tflite-int8"):
        write_accepted(export(learnt, tmp_path, "tflite-fp32"), tmp_path)
    refused = export(learnt, tmp_path, "tflite-int8", max_size_bytes=10)
    with pytest.raises(ConversionError, match=r"no tflite-int8: its file has .*B, at most 10 bytes"):
        write_accepted(refused, tmp_path)


@pytest.mark.parametrize("name", ["1model", "model-int8", "a b", "", "modèle"])
def test_names_that_c_does_not_have_are_refused(name):
    with pytest.raises(ConversionError, match="names no array in C"):
        c_array(b"x", name)


def test_nothing_makes_no_array():
    with pytest.raises(ConversionError, match="at least one byte"):
        c_array(b"", "model")


def test_the_command_has_the_option():
    assert "--c-array" in CliRunner().invoke(app, ["export", "--help"], env={"COLUMNS": "200"}).output
