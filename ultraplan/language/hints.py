"""What people who know Ansible type, and what it is called here."""

from __future__ import annotations

PLAN_WORDS = {
    "tasks": "the steps of a plan are called 'steps'",
    "pre_tasks": "put them first in 'steps'",
    "post_tasks": "put them last in 'steps'",
    "handlers": "there are no handlers: give the step a condition, when: steps.ID.changed",
    "roles": "there are no roles: include another plan, with inputs: include: {plan: FILE, inputs: {…}}",
    "name": "the plan's name is the value of 'plan'",
    "gather_facts": "facts are read when an expression uses them; leave it out",
    "vars_files": "put variables in the inventory's group_vars, or give them with -e @FILE",
    "vars_prompt": "declare it under 'inputs' and give it with -e NAME=VALUE",
    "become_user": "write become: {user: NAME}",
    "become_method": "write become: {method: NAME}",
    "any_errors_fatal": "write max_fail_percentage: 0",
    "ignore_errors": "write on_failure: continue",
    "remote_user": "set ansible_user in the inventory",
    "connection": "set ansible_connection in the inventory",
    "import_playbook": "write a step: include: {plan: FILE}",
    "collections": "step types have plain names here; leave it out",
    "tags": "tags belong to steps",
    "when": "conditions belong to steps",
    "order": "hosts are taken in the inventory's order",
    "force_handlers": "there are no handlers: use a block with always",
    "throttle": "write serial, in the plan",
}
"""Ansible's words at the top of a play."""

STEP_WORDS = {
    "register": "outputs are there without it: steps.ID.outputs.NAME",
    "notify": "give the other step a condition: when: steps.ID.changed",
    "listen": "give the step a condition: when: steps.ID.changed",
    "ignore_errors": "write on_failure: continue",
    "ignore_unreachable": "write max_unreachable_percentage, in the plan",
    "failed_when": "write until: EXPRESSION, which must hold for the step to be done",
    "changed_when": "write reads_only: true for a command that changes nothing",
    "check_mode": "ultraplan plan changes nothing",
    "become_user": "write become: {user: NAME}",
    "become_method": "write become: {method: NAME}",
    "delegate_to": "a step runs on the plan's hosts; put it in a plan of its own for the other host",
    "local_action": "a step like http or tcp acts from here; or use a plan whose hosts are local",
    "connection": "set ansible_connection in the inventory",
    "remote_user": "set ansible_user in the inventory",
    "loop_control": "each turn has item and index",
    "args": "put the arguments into the step type's own mapping",
    "with_items": "write loop: [a, b]",
    "with_dict": 'write loop: "{{ vars.NAME | dictsort }}"; each item is [key, value]',
    "with_sequence": 'write loop: "{{ range(1, 4) }}"',
    "async": "write timeout: 1h",
    "poll": "write retries and delay",
    "any_errors_fatal": "write max_fail_percentage: 0, in the plan",
    "throttle": "write serial, in the plan",
    "tasks": "steps inside a step are a block: [ … ]",
    "steps": "steps inside a step are a block: [ … ]",
    "depends_on": "write needs: [ID]",
    "requires": "write needs: [ID]",
    "after": "write needs: [ID]",
    "if": "write when: EXPRESSION",
    "rollback": "the way back of a step is its undo",
}
"""Ansible's (and others') words in a step."""

_COMMAND = "use command, with undo, reads_only or irreversible"

MODULES = {
    "template": "use file with template: FILE",
    "shell": "use command (a shell runs its text), or script",
    "raw": _COMMAND,
    "systemd": "use service: {name, state}",
    "systemd_service": "use service: {name, state}",
    "uri": "use http",
    "get_url": _COMMAND,
    "wait_for": "use tcp, or http, with retries and delay",
    "wait_for_connection": "use tcp with retries and delay",
    "pause": "use sleep, or approve to wait for a person",
    "debug": "use assert, or read the values with ultraplan plan",
    "fail": "use assert: EXPRESSION",
    "stat": "use command with reads_only: true, or assert",
    "apt": _COMMAND, "apt_repository": _COMMAND, "yum": _COMMAND, "dnf": _COMMAND, "package": _COMMAND,
    "pip": _COMMAND, "npm": _COMMAND, "snap": _COMMAND, "git": _COMMAND, "user": _COMMAND, "group": _COMMAND,
    "cron": _COMMAND, "mount": _COMMAND, "sysctl": _COMMAND, "reboot": _COMMAND, "docker_container": _COMMAND,
    "synchronize": "use copy",
    "setup": "facts are read when an expression uses them; leave it out",
    "include_tasks": "use include: {plan: FILE}", "import_tasks": "use include: {plan: FILE}",
    "include_role": "use include: {plan: FILE}", "import_role": "use include: {plan: FILE}",
    "include_vars": "put variables in the inventory's group_vars, or give them with -e @FILE",
    "set_facts": "use set_fact",
    "meta": "there is nothing like it; leave it out",
}
"""Ansible's modules."""


PARAMETERS = {"src": "source", "dest": "path", "cmd": "run", "msg": "message", "seconds": "duration",
              "status_code": "status"}
"""Ansible's parameters, and what the same thing is called where a step type has it."""


def for_plan(word: str) -> str | None:
    """What to write instead of ``word`` at the top of a plan, or None."""
    return PLAN_WORDS.get(word)


def for_step(word: str) -> str | None:
    """What to write instead of ``word`` in a step, or None. A collection's name before a module counts for nothing."""
    if word.startswith("with_"):
        return STEP_WORDS.get(word, "write loop: [ … ]")
    return STEP_WORDS.get(word) or MODULES.get(word.rpartition(".")[2])


def for_parameter(word: str, known: list[str]) -> str | None:
    """What to write instead of ``word`` among a step type's parameters, or None."""
    if word == "state" and "path" in known:
        return "a path of another kind is a step of another type: directory, link, absent"
    return f"did you mean '{PARAMETERS[word]}'?" if PARAMETERS.get(word) in known else None
