"""What is wrong with a file is told at once, each with its line; what has no equal here is named."""

import base64
import json
from pathlib import Path

import pytest

from regadmin.errors import Error
from regadmin.importing import docker_auth, formats, htpasswd, original, own_yaml, registry_auth
from regadmin.importing.plan import Plan, Weight

DATA = Path(__file__).parent.parent / "data" / "imports"
HASH = "$2y$04$/S37LqYxuA5o3TAisnssmuSLIUIbvu3oWU7qhoE.6OeqjEmwd6VV6"


def remarks(plan: Plan, weight: Weight = Weight.ERROR) -> list[str]:
    return [f"{remark.place.line}: {remark.text}" for remark in plan.remarks if remark.weight is weight]


def rules(plan: Plan) -> list[tuple[str, str, str]]:
    return [(planned.owner, planned.rule.resource_name, planned.rule.action) for planned in plan.rules]


BOMB = "\n".join(
    [
        "a0: &actions [" + "pull," * 1000 + "]",
        "a1: &rules [" + "{target: x, actions: *actions}," * 1000 + "]",
        "auths:",
        *(f"  user{number}: *rules" for number in range(1000)),
    ]
)
BAD = [
    (docker_auth, 'users:\n  "user":\n\t  password: x', ["3: cannot be read as YAML: found character '\\t'"]),
    (docker_auth, "users: {a: {pasword: x}}\nacll: []", ["1: unknown key pasword, the nearest known one is password",
                                                          "2: unknown key acll, the nearest known one is acl"]),
    (docker_auth, f"users:\n  a: {{password: {HASH}}}\n  a: {{}}", ["3: a stands twice, first in line 2"]),
    (docker_auth, "acl:\n- match: {name: '/(/'}\n  actions: []\n- match: {name: '/(a+)+/'}",
     ["2: /(/ is no regular expression", "4: /(a+)+/ could run away"]),
    (docker_auth, "acl:\n- match: {account: '/(/'}\n- actions: []\n- x",
     ["2: /(/ is no", "3: has no match", "4: must be keys"]),
    (docker_auth, "acl: {a: b}\nusers: [a]", ["1: must be a list", "2: must be keys and values"]),
    (registry_auth, "auths:\n  a:\n  - target: '('\n    useRegexp: maybe\n  - {}\nusers: {b: [x]}",
     ["4: must be true or false", "5: has no target"]),
    (registry_auth, "auths: {a: [{target: '(', useRegexp: true}, {target: x, type: image}]}",
     ["1: ( is no regular expression", "1: must be one of repository, registry"]),
    (registry_auth, "users: {a: secret1}\n---\nusers: {a: secret2}", ["3: users: a stands twice"]),
    (registry_auth, "kind: ConfigMap\ndata: {}", ["1: must be one of Secret"]),
    (htpasswd, f"a:{HASH}\n\nb\na:{HASH}", ["3: must be login:hash", "4: a stands twice, first in line 1"]),
    (own_yaml, "users: {}", ["1: must say `regadmin: 1`"]),
    (own_yaml, "regadmin: 1\n---\nregadmin: 1", ["3: only the first document is read"]),
    (docker_auth, "users: {}\n---\nusers: {}", ["3: only the first document is read"]),
    (own_yaml, "regadmin: 1\nusers: {a: {password: $apr1$abcdefgh$1KKLQXDDsuSUqv22XsVoA/}}", ["2: the password of a"]),
    (own_yaml, "regadmin: 2", ["1: is of another version"]),
    (own_yaml, "regadmin: 1\nusers:\n  a: {password: short}\n  b: {rol: x}\n  c: {password: $2y$99$x, role: god}",
     ["3: the password of a must be 6 to 72", "4: unknown key rol, the nearest known one is role",
      "4: the password of b", "5: the password of c is no bcrypt", "5: must be one of admin, manager, user"]),
    (own_yaml, "regadmin: 1\nrules:\n- {user: a, group: b, action: pull, resource_name: x}\n- {audience: }\n"
     "- {audience: all, resource_name: 'a b', action: read, disabled: x}",
     ["3: must have one of user, group, audience", "4: must have one of", "4: has no resource_name and no action",
      "5: must be one of registered, everyone", "5: a b is no repository name", "5: must be one of pull",
      "5: must be true"]),
    (own_yaml, "a: " * 2000 + "b", ["1: cannot be read as YAML"]),
    (own_yaml, "- " * 1100, ["0: cannot be read as YAML: it is nested too deeply"]),
    (own_yaml, "&a\nregadmin: 1\nusers: *a\nrules: [*a]", ["0: cannot be read as YAML: it holds more than 8 MiB"]),
    *((own_yaml, f'regadmin: 1\nusers: {{"a{escape}": {{}}}}', ["2: cannot be read as YAML: found an escape"])
      for escape in (r"\ud83d", r"\ude00\ud83d", r"\U00110000", r"\UFFFFFFFF")),
    (registry_auth, BOMB, ["0: cannot be read as YAML: it holds more than 8 MiB, aliases included"]),
]  # fmt: skip


@pytest.mark.parametrize(("reader", "text", "wanted"), BAD, ids=range(len(BAD)))
def test_every_error_is_told_with_its_line(reader, text, wanted):
    found = remarks(reader.read(text, "file"))
    assert len(wanted) <= len(found)
    for sentence in wanted:
        assert any(each.startswith(sentence) for each in found), found


@pytest.mark.parametrize(
    "line",
    [
        *("{password: *hunter22}", "{password: &hunter22 a, name: &hunter22 b}", "{password: !hunter22!x y}"),
        *("{password:hunter22}", "password hunter22", "{? password hunter22, ? password hunter22}"),
        *("{password: [hunter22]}", "{password: '$hunter22'}", "{password: {hunter22: a}}", "[password, hunter22]"),
    ],
)
def test_an_error_never_tells_a_password(line):
    found = remarks(own_yaml.read(f"regadmin: 1\nusers:\n  alice: {line}\n", "file"))
    assert found[0].startswith("3: ")
    assert "hunter22" not in "".join(found)


def test_json_may_write_a_character_as_two_halves():
    description = "\U0001f433 ships \U0001f433"
    text = json.dumps({"regadmin": 1, "groups": {"crew": {"description": description}}})
    assert r"\ud83d\udc33" in text
    assert own_yaml.read(text, "f").groups[0].group.description == description


def test_a_file_that_is_missing_or_no_text_is_told(tmp_path):
    with pytest.raises(Error, match="No such file"):
        formats.read("htpasswd", tmp_path / "none")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(Error, match="not UTF-8"):
        formats.read("htpasswd", tmp_path / "bytes")


def test_hashes_that_are_not_bcrypt_are_left_out_by_name():
    plan = htpasswd.read((DATA / "htpasswd").read_text(), "htpasswd")
    assert [(planned.user.login, bool(planned.password_hash)) for planned in plan.users] == [
        ("user1", True),
        ("user3", False),
    ]
    assert [text[:8] for text in remarks(plan, Weight.LESS)] == ["4: user ", "7: user ", "8: user "]
    dear = HASH.replace("$04$", "$15$")
    assert "cost 15" in remarks(htpasswd.read(f"a:{dear}", "f"), Weight.LESS)[0]


def test_users_of_docker_auth_who_could_sign_in_with_anything_or_not_at_all_are_left_out():
    text = "users:\n  a: {}\n  b:\n    password: clear text\n  c:\n  d: {labels: {x: [y]}}\n"
    plan = docker_auth.read(text, "f")
    assert not plan.users
    told = remarks(plan, Weight.LESS)
    assert [(line[0], "anybody" in line) for line in told] == [("2", True), ("3", False), ("5", False), ("6", True)]


def test_what_an_acl_says_that_rules_cannot_say_is_named():
    text = """
ldap_auth: {addr: x}
acl:
- match: {name: "${labels:group}/*"}
  actions: [pull]
- match: {account: "${name}"}
  actions: [pull]
- match: {service: x, labels: {a: b}, name: a}
  actions: [pull, fly]
- match: {type: "${type}"}
  actions: [pull]
- match: {name: "No Name"}
  actions: [pull]
- match: {name: "${login}/*"}
  actions: [pull]
"""
    plan = docker_auth.read(text, "f")
    assert not plan.rules
    assert {int(line.partition(":")[0]) for line in remarks(plan, Weight.LESS)} == {2, 4, 6, 8, 9, 10, 12, 14}
    assert not plan.has(Weight.ERROR)


def test_registry_auth_looks_for_expressions_anywhere_and_says_so():
    plan = registry_auth.read((DATA / "registry-auth.yml").read_text(), "f")
    assert rules(plan) == [
        ("user user1", "usersrepo/test1", "push"),
        ("user user1", "/.*team1repo/.*/", "pull"),
        ("everybody", "/.*/", "pull"),
    ]
    assert any("team1repo/.*" in note and note.startswith("11:") for note in remarks(plan, Weight.NOTE))


def test_push_without_pull_grants_more():
    plan = registry_auth.read("auths: {a: [{target: x, actions: [push]}, {target: y, actions: []}]}", "f")
    assert remarks(plan, Weight.MORE) == ["1: push without pull of x: push includes pull here"]
    assert "allows nothing" in remarks(plan, Weight.LESS)[0]


@pytest.mark.parametrize("target", ["team/*", "/a/", "a b", "${login}/x"])
def test_a_target_that_would_become_a_pattern_is_left_out(target):
    plan = registry_auth.read(f"auths: {{a: [{{target: '{target}', actions: [pull]}}]}}", "f")
    assert not plan.rules
    assert len(remarks(plan, Weight.LESS)) == 1


def test_a_secret_counts_before_the_file_and_keeps_its_lines():
    secret = (DATA / "registry-auth-secret.yml").read_text()
    plan = registry_auth.read(f"users: {{user3: overruled}}\n---\n{secret}", "f")
    assert [(planned.user.login, planned.password) for planned in plan.users] == [("user3", "password3")]
    assert str(plan.users[0].place) == "f:14"
    assert rules(plan) == [("user user3", "/.*userrepo3/.*/", "push")]
    assert "user3 is as the Secret at f:14 says" in remarks(plan, Weight.NOTE)[0]


def test_secrets_are_read_as_kubectl_lists_them_and_by_their_label_only():
    config = base64.b64encode(b"users: {a: secret-1}\nauths:\n  a: [{target: '(', useRegexp: true}]\n").decode()
    item = "- {kind: Secret, metadata: {labels: {%s}}, data: {config: %s}}\n"
    listed = "apiVersion: v1\nkind: List\nitems:\n" + item % ("registry-auth-config: 'true'", config)
    plan = registry_auth.read(listed + item % ("", config), "f")
    assert [planned.user.login for planned in plan.users] == ["a"]
    assert str(plan.users[0].place) == "f:4 decoded:1"
    assert [str(r.place) for r in plan.remarks if r.weight is Weight.ERROR] == ["f:4 decoded:3"]
    assert "no label" in remarks(plan, Weight.LESS)[0]


def test_rows_of_the_original_that_would_mean_more_here_are_left_out_or_named():
    access = {"is_group": 0, "name": "r", "resource_type": "repository", "action": "pull", "disabled": 0}
    rows = [
        access | {"id": 1, "owner_id": 9, "resource_name": "gone"},
        access | {"id": 2, "owner_id": -999, "resource_name": "team/*"},
        access | {"id": 3, "owner_id": -1000, "resource_name": "open", "is_group": 1},
        access | {"id": 4, "owner_id": 1, "resource_name": "crew/app", "is_group": 1},
        access | {"id": 5, "owner_id": -999, "resource_name": "a", "action": "fly"},
        access | {"id": 6, "owner_id": -999, "resource_name": "No Name"},
    ]
    plan = original.read({"users": [], "groups": [{"id": 1, "name": "crew", "description": ""}], "access": rows}, "f")
    assert rules(plan) == [("everybody", "open", "pull"), ("group crew", "crew/app", "pull")]
    assert [line[0] for line in remarks(plan, Weight.LESS)] == ["1", "2", "5", "6"]
    assert "members" in remarks(plan, Weight.MORE)[0]
