"""Edits texts with Ansible's own lineinfile and blockinfile, in one process.

It is run by the interpreter of the environment that has ansible-core, never imported by ours. Each line of stdin is a
question, {"ask": module, "text": …, "args": …}; each line of stdout its answer: the text then, or {"failed": why}.
"""

import contextlib
import importlib
import io
import json
import os
import sys
import tempfile

from ansible.module_utils import basic


def edited(question):
    module = importlib.import_module(f"ansible.modules.{question['ask']}")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "file")  # noqa: PTH118 - Ansible's own idiom
        with open(path, "w", newline="") as file:  # noqa: PTH123
            file.write(question["text"])
        args = {**question["args"], "path": path, "_ansible_tmpdir": folder}
        basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": args}).encode()
        basic._ANSIBLE_PROFILE = "legacy"
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
            module.main()
        answer = json.loads(said.getvalue())
        if answer.get("failed"):
            return {"failed": answer.get("msg", "")}
        with open(path, newline="") as file:  # noqa: PTH123
            return file.read()


for line in sys.stdin:
    print(json.dumps(edited(json.loads(line))), flush=True)
