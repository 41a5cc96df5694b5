"""The pages on credit and insurers are tried: their Python runs as it stands, their sessions print what is shown."""

import pytest
from test_docs import ROOT, fences, matches, run, sessions


@pytest.mark.parametrize("page", ["credit.md", "insurers.md"])
def test_the_page_is_true(tmp_path, monkeypatch, page):
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in fences(ROOT / "docs" / page):
        if block.language == "python":
            exec(compile(block.text, page, "exec"), names)  # noqa: S102 - our own page
        for command, expected in sessions(block.text) if block.language == "console" else ():
            printed = run(command.replace("../../", f"{ROOT}/"), tmp_path)
            shown = expected.replace("../../", f"{ROOT}/")
            assert matches(shown, printed), f"$ {command}\n{printed}"
