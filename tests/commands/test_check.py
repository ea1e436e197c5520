"""`endpoint-picker check`, as a person or a pipeline calls it."""

import io
import sys
from pathlib import Path

import pytest

from endpoint_picker import cli
from endpoint_picker.config import load

HEAD = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n"


@pytest.fixture
def good(tmp_path: Path) -> str:
    file = tmp_path / "good.yaml"
    file.write_text(HEAD + "plugins: [{type: queue-scorer}, {type: random-picker}]\n")
    return str(file)


@pytest.fixture
def bad(tmp_path: Path) -> str:
    file = tmp_path / "bad.yaml"
    file.write_text(HEAD + "plugins:\n- type: queue-scorrer\n- type: random-picker\n  parameters: {max: 1}\n")
    return str(file)


Capture = pytest.CaptureFixture[str]


def test_a_good_file_is_told_and_written_out(good: str, capsys: Capture) -> None:
    assert cli.main(["check", good]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    first, *rest = told.out.splitlines()
    assert first.startswith(f"# {good}: valid; ")
    assert first.endswith(" of them added; profiles: default")
    assert load.load("\n".join(rest), "effective").profiles[0].name == "default"


def test_a_bad_file_is_told_by_line(bad: str, capsys: Capture) -> None:
    assert cli.main(["check", bad]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    first, second, last = told.err.splitlines()
    assert first.startswith(
        f"{bad}:4: plugin \"queue-scorrer\": plugin type 'queue-scorrer' is not registered"
    )
    assert first.endswith('did you mean "queue-scorer"?')
    assert second.startswith(f'{bad}:6: plugin "random-picker" (type random-picker): unknown key')
    assert last == f"{bad}: invalid"


def test_several_files_are_each_told(good: str, bad: str, capsys: Capture) -> None:
    assert cli.main(["check", "-q", good, bad, good]) == 1
    told = capsys.readouterr()
    assert [line.partition(":")[0] for line in told.out.splitlines()] == [good, good]
    assert told.err.splitlines()[-1] == f"{bad}: invalid"


def test_the_forms_of_several_files_are_documents(good: str, capsys: Capture) -> None:
    assert cli.main(["check", good, good]) == 0
    first, second = capsys.readouterr().out.split("---\n")
    assert first == second


def test_lenient_warns(bad: str, capsys: Capture) -> None:
    assert cli.main(["check", "--lenient", "-q", bad]) == 1
    assert f'warning: {bad}:6: plugin "random-picker"' in capsys.readouterr().err


def test_alpha_plugins_need_the_flag(tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "alpha.yaml"
    file.write_text(HEAD + "plugins: [{type: session-affinity-scorer}]")
    assert cli.main(["check", "-q", str(file)]) == 1
    assert "allow it with --allow-experimental-plugins" in capsys.readouterr().err
    assert cli.main(["check", "-q", "--allow-experimental-plugins", str(file)]) == 0


@pytest.mark.parametrize(("text", "code"), [(b"", 0), (b"kind: X", 1), (b"\xff", 1)])
def test_standard_input(text: bytes, code: int, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert cli.main(["check", "-q", "-"]) == code
    told = capsys.readouterr()
    assert ("standard input" in told.err) == bool(code)


def test_an_empty_file_means_what_it_does_to_the_reference(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "empty.yaml").write_text("")
    assert cli.main(["check", "-q", str(tmp_path / "empty.yaml")]) == 0
    assert "empty.yaml: valid; 15 plugins, 12 of them added" in capsys.readouterr().out


def test_the_difference(good: str, bad: str, tmp_path: Path, capsys: Capture) -> None:
    new = tmp_path / "new.yaml"
    new.write_text(HEAD + "plugins: [{type: queue-scorer}]")
    assert cli.main(["check", "--diff", good, str(new)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [f"--- {good}", f"+++ {new}"]
    assert "+- name: max-score-picker" in lines
    assert lines[-1] == (
        f"{good} → {new}: plugins added: max-score-picker; plugins removed: random-picker; "
        "profiles changed: default"
    )
    assert cli.main(["check", "-q", "--diff", good, good]) == 0
    assert capsys.readouterr().out == f"{good} → {good}: no change\n"
    assert cli.main(["check", "--diff", good, bad]) == 1


@pytest.mark.parametrize("arguments", [[], ["a", "--diff", "b", "c"], ["--diff", "a"], ["--lenint", "a"]])
def test_wrong_use_is_told(arguments: list[str], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["check", *arguments])
    assert ended.value.code == 2
    assert "usage: endpoint-picker check" in capsys.readouterr().err


def test_help_is_complete(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["check", "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for word in (
        "FILE",
        "--diff OLD NEW",
        "--quiet",
        "--lenient",
        "--allow-experimental-plugins",
        "exit code",
    ):
        assert word in text
