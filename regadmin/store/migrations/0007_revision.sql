-- Moves with every change on which the answer to "who may do what?" depends. Caches of answers, in whichever
-- process, are keyed by it. The statement that changes something moves it in the same transaction.
CREATE TABLE revision (number INTEGER NOT NULL);
INSERT INTO revision VALUES (1);

CREATE TRIGGER revision_by_user AFTER UPDATE OF login, password_hash, role, is_blocked, must_change_password ON users
BEGIN UPDATE revision SET number = number + 1; END;
CREATE TRIGGER revision_by_new_user AFTER INSERT ON users BEGIN UPDATE revision SET number = number + 1; END;
CREATE TRIGGER revision_by_lost_user AFTER DELETE ON users BEGIN UPDATE revision SET number = number + 1; END;
CREATE TRIGGER revision_by_group AFTER UPDATE OF name ON groups BEGIN UPDATE revision SET number = number + 1; END;
CREATE TRIGGER revision_by_new_member AFTER INSERT ON memberships BEGIN UPDATE revision SET number = number + 1; END;
CREATE TRIGGER revision_by_lost_member AFTER DELETE ON memberships BEGIN UPDATE revision SET number = number + 1; END;
CREATE TRIGGER revision_by_rule AFTER UPDATE ON rules BEGIN UPDATE revision SET number = number + 1; END;
CREATE TRIGGER revision_by_new_rule AFTER INSERT ON rules BEGIN UPDATE revision SET number = number + 1; END;
CREATE TRIGGER revision_by_lost_rule AFTER DELETE ON rules BEGIN UPDATE revision SET number = number + 1; END;
