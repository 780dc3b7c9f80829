"""When users and access tokens came last: noted once in a while, whoever they are."""

from regadmin.entities import Role, User
from regadmin.services.uses import Uses
from regadmin.store import Store


def test_users_and_tokens_that_come_and_go_are_not_remembered_for_ever(tmp_path, clock):
    uses, noted = Uses(Store(tmp_path / "data.db", clock)), []
    uses.on_use = lambda: noted.append(clock.now)

    def come(user_id: int) -> int:
        uses.note_user(User(user_id, "somebody", "Somebody", Role.USER))
        return len(noted)

    assert [come(1), come(1)] == [1, 1]
    assert [come(user_id) for user_id in range(2, 10_002)][-1] == 10_001
    assert come(1) == 10_002
