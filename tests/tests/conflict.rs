//! The functions of conflicts: what they store and return, what they do to the items, and what
//! they refuse.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use caliber_tests::{DbError, Tree, UNKNOWN};
use serde_json::{Value, json};
use uuid::Uuid;

const V4: &str = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
/// Items of a kind that the functions know nothing about.
const A: &str = "01920000-0000-7000-8000-00000000000a";
const B: &str = "01920000-0000-7000-8000-00000000000b";
const TABLES: &[&str] = &["caliber_conflict", "caliber_artifact", "caliber_note"];

#[track_caller]
fn create(t: &mut Tree, arguments: &str) -> Uuid {
    t.db.one(&format!("SELECT caliber_conflict_create({arguments})"))
}

/// A conflict of two files.
#[track_caller]
fn of_files(t: &mut Tree) -> Uuid {
    create(t, &format!("'concurrent_write', 'file', '{A}', 'file', '{B}'"))
}

/// A conflict of two artifacts or two notes.
#[track_caller]
fn between(t: &mut Tree, kind: &str, [a, b]: [Uuid; 2]) -> Uuid {
    create(t, &format!("'contradicting_fact', '{kind}', '{a}', '{kind}', '{b}'"))
}

#[track_caller]
fn item(t: &mut Tree, kind: &str, more: &str) -> Uuid {
    let (trajectory, scope) = (t.trajectory, t.scope);
    let first = match kind {
        "artifact" => format!("'{trajectory}', '{scope}', "),
        _ => String::new(),
    };
    t.db.one(&format!("SELECT caliber_{kind}_create({first}'fact', 'n', 'c'{more})"))
}

#[track_caller]
fn get(t: &mut Tree, entity: &str, id: Uuid) -> Value {
    t.db.json(&format!("caliber_{entity}_get('{id}')"))
}

#[track_caller]
fn resolve(t: &mut Tree, id: Uuid, arguments: &str) -> Value {
    t.db.json(&format!("caliber_conflict_resolve('{id}', {arguments})"))
}

#[track_caller]
fn refused(t: &mut Tree, call: &str, sqlstate: &str) -> DbError {
    t.db.refused_unchanged(&format!("SELECT caliber_conflict_{call}"), sqlstate, TABLES)
}

/// Whether the error names a column or constraint, or has a word in its message or detail.
#[track_caller]
fn names(error: &DbError, word: &str) {
    let texts =
        [error.column(), error.constraint(), Some(error.message()), error.detail(), error.hint()];
    assert!(texts.iter().flatten().any(|text| text.contains(word)), "{word}: {error:?}");
}

#[track_caller]
fn pending(t: &mut Tree, arguments: &str) -> Vec<Uuid> {
    t.db.all(&format!("SELECT conflict_id FROM caliber_conflict_list_pending({arguments})"))
}

#[track_caller]
fn agent(t: &mut Tree) -> Uuid {
    t.db.one("INSERT INTO caliber_agent (agent_type) VALUES ('worker') RETURNING agent_id::uuid")
}

#[test]
fn create_stores_every_argument() {
    let mut t = Tree::new("conflict");
    let (trajectory, x, y) = (t.trajectory, agent(&mut t), agent(&mut t));
    let id: Uuid = t.db.one("SELECT caliber_new_id()");
    t.db.run("BEGIN");
    let arguments = format!(
        "conflict_type => 'goal_conflict', item_a_type => 'Ziel', item_a_id => '{A}',
         item_b_type => 'Plan', item_b_id => '{A}', agent_a_id => '{x}', agent_b_id => '{y}',
         trajectory_id => '{trajectory}', metadata => '[1.50]', conflict_id => '{id}'"
    );
    assert_eq!(create(&mut t, &arguments), id);
    let now = t.db.json("transaction_timestamp()");
    let expected = json!({
        "conflict_id": id.to_string(), "conflict_type": "goal_conflict", "item_a_type": "Ziel",
        "item_a_id": A, "item_b_type": "Plan", "item_b_id": A, "agent_a_id": x.to_string(),
        "agent_b_id": y.to_string(), "trajectory_id": trajectory.to_string(),
        "status": "detected", "resolution": null, "detected_at": now, "resolved_at": null,
        "metadata": [1.50], "created_at": now, "updated_at": now, "version": 1,
    });
    assert_eq!(get(&mut t, "conflict", id), expected);
    t.db.run("COMMIT");
    assert_eq!(get(&mut t, "conflict", id), expected);
    let plain = of_files(&mut t);
    let row = get(&mut t, "conflict", plain);
    for column in ["agent_a_id", "agent_b_id", "trajectory_id", "resolution", "metadata"] {
        assert_eq!(row[column], Value::Null, "{column}");
    }
}

#[test]
fn bad_arguments_of_create_are_refused() {
    let mut t = Tree::new("conflict");
    of_files(&mut t);
    let ok = format!("'goal_conflict', 'file', '{A}', 'file', '{B}'");
    for (arguments, sqlstate, named) in [
        (format!("NULL, 'x', '{A}', 'x', '{B}'"), "23502", "conflict_type"),
        (format!("'goal_conflict', NULL, '{A}', 'x', '{B}'"), "23502", "item_a_type"),
        (format!("'goal_conflict', 'x', NULL, 'x', '{B}'"), "23502", "item_a_id"),
        (format!("'goal_conflict', 'x', '{A}', NULL, '{B}'"), "23502", "item_b_type"),
        (format!("'goal_conflict', 'x', '{A}', 'x', NULL"), "23502", "item_b_id"),
        (format!("'quarrel', 'x', '{A}', 'x', '{B}'"), "22P02", "quarrel"),
        (
            format!("'goal_conflict', 'x', '{A}', 'x', '{A}'"),
            "23514",
            "caliber_conflict_items_check",
        ),
        (format!("{ok}, agent_a_id => '{UNKNOWN}'"), "23503", "caliber_conflict_agent_a_id_fkey"),
        (format!("{ok}, agent_b_id => '{UNKNOWN}'"), "23503", "caliber_conflict_agent_b_id_fkey"),
        (
            format!("{ok}, trajectory_id => '{UNKNOWN}'"),
            "23503",
            "caliber_conflict_trajectory_id_fkey",
        ),
        (format!("{ok}, conflict_id => '{V4}'"), "22023", "conflict_id"),
    ] {
        names(&refused(&mut t, &format!("create({arguments})"), sqlstate), named);
    }
}

#[test]
fn create_with_an_id_can_be_repeated() {
    let mut t = Tree::new("conflict");
    let id: Uuid = t.db.one("SELECT caliber_new_id()");
    let with = |items: &str| format!("'goal_conflict', {items}, conflict_id => '{id}'");
    let arguments = with(&format!("'file', '{A}', 'file', '{B}'"));
    assert_eq!(create(&mut t, &arguments), id);
    resolve(&mut t, id, "'reject_both'");
    let before = t.db.rows_of("caliber_conflict");
    assert_eq!(create(&mut t, &arguments), id);
    assert_eq!(create(&mut t, &with(&format!("NULL, '{A}', NULL, NULL"))), id);
    assert_eq!(t.db.rows_of("caliber_conflict"), before);
    for (items, named) in [
        (format!("'note', '{A}', 'file', '{B}'"), "\"item_a_type\""),
        (format!("'file', '{B}', 'file', '{B}'"), "\"item_a_id\""),
        (format!("'file', '{A}', 'note', '{B}'"), "\"item_b_type\""),
        (format!("'file', '{A}', 'file', '{A}'"), "\"item_b_id\""),
    ] {
        let error = refused(&mut t, &format!("create({})", with(&items)), "23505");
        assert!(error.detail().unwrap().contains(named), "{error:?}");
    }
}

#[test]
fn an_unknown_conflict_is_null() {
    let mut t = Tree::new("conflict");
    assert!(pending(&mut t, "").is_empty());
    of_files(&mut t);
    for id in [format!("'{UNKNOWN}'"), format!("'{V4}'"), "NULL".to_owned()] {
        assert_eq!(t.db.json(&format!("caliber_conflict_get({id})")), Value::Null);
    }
}

#[test]
fn the_pending_are_paged_by_key() {
    let mut t = Tree::new("conflict");
    let all: Vec<Uuid> = (0..110).map(|_| of_files(&mut t)).collect();
    for (i, id) in all.iter().enumerate() {
        // Two states, mixed: the order is that of the ids all the same.
        if i % 3 == 0 {
            t.db.run(&format!(
                "UPDATE caliber_conflict SET status = 'resolving' WHERE conflict_id = '{id}'"
            ));
        }
    }
    resolve(&mut t, all[1], "'escalate'");
    resolve(&mut t, all[3], "'reject_both'");
    let left: Vec<Uuid> = all.iter().copied().filter(|id| *id != all[1] && *id != all[3]).collect();
    assert_eq!(pending(&mut t, ""), left[..100]);
    assert_eq!(pending(&mut t, "1000"), left);
    assert_eq!(pending(&mut t, "3"), left[..3]);
    assert_eq!(pending(&mut t, &format!("4, '{}'", left[20])), left[21..25]);
    assert_eq!(pending(&mut t, &format!("after => '{}'", left[106])), [left[107]]);
    assert!(pending(&mut t, &format!("after => '{}'", left[107])).is_empty());
    for arguments in ["0", "-1", "NULL"] {
        refused(&mut t, &format!("list_pending({arguments})"), "22023");
    }
}

#[test]
fn a_resolution_is_stored() {
    let mut t = Tree::new("conflict");
    let agent = agent(&mut t);
    for strategy in ["last_write_wins", "first_write_wins", "highest_confidence", "merge"] {
        let id = of_files(&mut t);
        let mut expected = get(&mut t, "conflict", id);
        t.db.run("BEGIN");
        let row = resolve(
            &mut t,
            id,
            &format!(
                "'{strategy}', '{B}', reason => 'Grund', resolved_by => '{agent}', expected_version => 1"
            ),
        );
        expected["status"] = json!("resolved");
        expected["resolution"] = json!({"strategy": strategy, "winner": B, "loser": A,
            "reason": "Grund", "resolved_by": agent.to_string()});
        expected["resolved_at"] = t.db.json("transaction_timestamp()");
        expected["updated_at"] = expected["resolved_at"].clone();
        expected["version"] = json!(2);
        t.db.run("COMMIT");
        assert_eq!(row, expected);
        assert_eq!(get(&mut t, "conflict", id), expected);
    }
    let id = of_files(&mut t);
    let row = resolve(&mut t, id, "'reject_both'");
    assert_eq!(row["resolution"], json!({"strategy": "reject_both"}), "nulls are left out");
    assert!(pending(&mut t, "").is_empty());
}

#[test]
fn an_escalated_conflict_waits_for_somebody() {
    let mut t = Tree::new("conflict");
    let id = of_files(&mut t);
    let row = resolve(&mut t, id, "'escalate', reason => 'zu schwer'");
    assert_eq!(
        (&row["status"], &row["resolved_at"], &row["version"]),
        (&json!("escalated"), &Value::Null, &json!(2))
    );
    assert_eq!(row["resolution"], json!({"strategy": "escalate", "reason": "zu schwer"}));
    assert!(pending(&mut t, "").is_empty());
    let row = resolve(&mut t, id, &format!("'merge', '{A}'"));
    assert_eq!((&row["status"], &row["resolution"]["winner"]), (&json!("resolved"), &json!(A)));
    // From the state between, too.
    for strategy in ["'escalate'", "'reject_both'"] {
        let id = of_files(&mut t);
        t.db.run(&format!(
            "UPDATE caliber_conflict SET status = 'resolving' WHERE conflict_id = '{id}'"
        ));
        resolve(&mut t, id, strategy);
    }
}

#[test]
fn a_conflict_can_be_escalated_whose_items_are_gone() {
    let mut t = Tree::new("conflict");
    let notes = [item(&mut t, "note", ""), item(&mut t, "note", "")];
    let id = between(&mut t, "note", notes);
    t.db.run("DELETE FROM caliber_note");
    assert_eq!(resolve(&mut t, id, "'escalate'")["status"], json!("escalated"));
    t.refused(&format!("SELECT caliber_conflict_resolve('{id}', 'reject_both')"), "P0002");
}

#[test]
fn bad_arguments_of_resolve_are_refused() {
    let mut t = Tree::new("conflict");
    let id = of_files(&mut t);
    t.db.run(&format!("UPDATE caliber_conflict SET metadata = '1' WHERE conflict_id = '{id}'"));
    let note = item(&mut t, "note", "");
    let notes = [note, item(&mut t, "note", "")];
    let of_notes = between(&mut t, "note", notes);
    let artifact = item(&mut t, "artifact", "");
    let mixed =
        create(&mut t, &format!("'goal_conflict', 'note', '{note}', 'artifact', '{artifact}'"));
    for (arguments, sqlstate, named) in [
        (format!("'{id}', NULL"), "22023", "strategy"),
        ("NULL, 'escalate'".to_owned(), "22023", "id"),
        (format!("'{UNKNOWN}', 'escalate'"), "P0002", UNKNOWN),
        (format!("'{id}', 'dice'"), "22P02", "dice"),
        (format!("'{id}', 'escalate', expected_version => 1"), "55006", "version is 2"),
        (format!("'{id}', 'escalate', '{A}'"), "22023", "winner"),
        (format!("'{id}', 'reject_both', '{A}'"), "22023", "winner"),
        // Nobody but the caller can say which file wins.
        (format!("'{id}', 'last_write_wins'"), "22023", "winner"),
        (format!("'{id}', 'first_write_wins'"), "22023", "winner"),
        (format!("'{id}', 'highest_confidence'"), "22023", "winner"),
        (format!("'{id}', 'last_write_wins', '{UNKNOWN}'"), "22023", "winner"),
        (format!("'{of_notes}', 'last_write_wins', '{UNKNOWN}'"), "22023", "winner"),
        // Notes have no confidence.
        (format!("'{of_notes}', 'highest_confidence'"), "22023", "winner"),
        (format!("'{mixed}', 'last_write_wins'"), "22023", "winner"),
        (format!("'{mixed}', 'last_write_wins', '{}'", notes[1]), "22023", "winner"),
    ] {
        names(&refused(&mut t, &format!("resolve({arguments})"), sqlstate), named);
    }
}

#[test]
fn a_resolved_conflict_is_final() {
    let mut t = Tree::new("conflict");
    let id = of_files(&mut t);
    resolve(&mut t, id, "'reject_both'");
    for arguments in
        ["'reject_both'".to_owned(), "'escalate'".to_owned(), format!("'merge', '{A}'")]
    {
        refused(&mut t, &format!("resolve('{id}', {arguments})"), "55000");
    }
}

#[test]
fn states_move_along_their_arrows_only() {
    let states = ["detected", "resolving", "resolved", "escalated"];
    let arrows = [
        ("detected", "resolving"),
        ("detected", "resolved"),
        ("detected", "escalated"),
        ("resolving", "resolved"),
        ("resolving", "escalated"),
        ("escalated", "resolving"),
        ("escalated", "resolved"),
    ];
    let mut t = Tree::new("conflict");
    for from in states {
        for to in states {
            let id = of_files(&mut t);
            let set = |to: &str| {
                format!("UPDATE caliber_conflict SET status = '{to}' WHERE conflict_id = '{id}'")
            };
            t.db.run(&set(from));
            if from == to || arrows.contains(&(from, to)) {
                t.db.run(&set(to));
                assert_eq!(get(&mut t, "conflict", id)["status"], json!(to));
            } else {
                let error = t.db.refused_unchanged(&set(to), "55000", TABLES);
                let detail = error.detail().unwrap();
                assert!(detail.contains(from) && detail.contains(to), "{detail}");
            }
        }
    }
}

/// The conflict was resolved so, and the loser is superseded by the winner, which stays.
#[track_caller]
fn is_won(t: &mut Tree, kind: &str, conflict: Uuid, winner: Uuid, loser: Uuid) {
    let row = get(t, "conflict", conflict);
    assert_eq!(row["status"], json!("resolved"));
    assert_eq!(row["resolution"]["winner"], json!(winner.to_string()));
    assert_eq!(row["resolution"]["loser"], json!(loser.to_string()));
    assert_eq!(get(t, kind, winner)["superseded_by"], Value::Null);
    assert_eq!(get(t, kind, loser)["superseded_by"], json!(winner.to_string()));
}

#[test]
fn the_loser_is_superseded_by_the_winner() {
    let mut t = Tree::new("conflict");
    for kind in ["artifact", "note"] {
        for strategy in ["last_write_wins", "first_write_wins", "highest_confidence", "merge"] {
            for first_wins in [true, false] {
                let items = [item(&mut t, kind, ""), item(&mut t, kind, "")];
                let id = between(&mut t, kind, items);
                let [loser, winner] = if first_wins { [items[1], items[0]] } else { items };
                resolve(&mut t, id, &format!("'{strategy}', '{winner}'"));
                is_won(&mut t, kind, id, winner, loser);
            }
        }
    }
}

#[test]
fn the_winner_is_found_by_the_strategy() {
    let mut t = Tree::new("conflict");
    for kind in ["artifact", "note"] {
        let mut pair = || [item(&mut t, kind, ""), item(&mut t, kind, "")];
        let [plain, touched, first] = [pair(), pair(), pair()];
        let id = between(&mut t, kind, plain);
        resolve(&mut t, id, "'last_write_wins'");
        is_won(&mut t, kind, id, plain[1], plain[0]);
        // What counts is the last update, not the creation.
        t.db.run(&format!(
            "SELECT caliber_{kind}_update('{}', '{{\"content\": \"x\"}}')",
            touched[0]
        ));
        let id = between(&mut t, kind, touched);
        resolve(&mut t, id, "'last_write_wins'");
        is_won(&mut t, kind, id, touched[0], touched[1]);
        // The order in which the conflict names them does not matter.
        t.db.run(&format!(
            "SELECT caliber_{kind}_update('{}', '{{\"content\": \"x\"}}')",
            first[0]
        ));
        let id = between(&mut t, kind, [first[1], first[0]]);
        resolve(&mut t, id, "'first_write_wins'");
        is_won(&mut t, kind, id, first[0], first[1]);
        // Of two written at once the later id wins.
        for strategy in ["last_write_wins", "first_write_wins"] {
            t.db.run("BEGIN");
            let items = [item(&mut t, kind, ""), item(&mut t, kind, "")];
            t.db.run("COMMIT");
            let id = between(&mut t, kind, [items[1], items[0]]);
            resolve(&mut t, id, &format!("'{strategy}'"));
            is_won(&mut t, kind, id, items[1], items[0]);
        }
    }
    for (a, b, first_wins) in [("0.9", "0.2", true), ("0.2", "0.9", false), ("0.5", "0.5", false)] {
        let items = [a, b].map(|c| item(&mut t, "artifact", &format!(", confidence => {c}")));
        let id = between(&mut t, "artifact", items);
        resolve(&mut t, id, "'highest_confidence'");
        let [loser, winner] = if first_wins { [items[1], items[0]] } else { items };
        is_won(&mut t, "artifact", id, winner, loser);
    }
}

#[test]
fn a_third_item_may_merge_the_two() {
    let mut t = Tree::new("conflict");
    for kind in ["artifact", "note"] {
        let [a, b, merged] = [0, 1, 2].map(|_| item(&mut t, kind, ""));
        let id = between(&mut t, kind, [a, b]);
        let row = resolve(&mut t, id, &format!("'merge', '{merged}'"));
        assert_eq!(row["resolution"]["winner"], json!(merged.to_string()));
        for item in [a, b] {
            assert_eq!(get(&mut t, kind, item)["superseded_by"], json!(merged.to_string()));
        }
        assert_eq!(get(&mut t, kind, merged)["superseded_by"], Value::Null);
    }
}

#[test]
fn both_rejected_items_end_now() {
    let mut t = Tree::new("conflict");
    for kind in ["artifact", "note"] {
        for ends in
            [["null", "\"2020-01-01T00:00:00+00:00\""], ["\"2100-01-01T00:00:00+00:00\"", "null"]]
        {
            let items = ends.map(|end| {
                let id = item(&mut t, kind, "");
                t.db.run(&format!(
                    "SELECT caliber_{kind}_update('{id}', '{{\"expires_at\": {end}}}')"
                ));
                id
            });
            let id = between(&mut t, kind, items);
            t.db.run("BEGIN");
            resolve(&mut t, id, "'reject_both'");
            for (item, end) in items.iter().zip(ends) {
                // One that is over already keeps its end.
                let as_expected: bool = t.db.one(&format!(
                    "SELECT expires_at = least(transaction_timestamp(), '{}') AND superseded_by IS NULL
                     FROM caliber_{kind}_get('{item}')",
                    if end == "null" { "infinity" } else { end.trim_matches('"') }
                ));
                assert!(as_expected, "{kind} {end}");
            }
            t.db.run("COMMIT");
        }
    }
}

#[test]
fn items_of_different_kinds_stay_as_they_are() {
    let mut t = Tree::new("conflict");
    let (artifact, note) = (item(&mut t, "artifact", ""), item(&mut t, "note", ""));
    let before = [get(&mut t, "artifact", artifact), get(&mut t, "note", note)];
    let mut conflict =
        || create(&mut t, &format!("'goal_conflict', 'artifact', '{artifact}', 'note', '{note}'"));
    let [won, rejected] = [conflict(), conflict()];
    resolve(&mut t, won, &format!("'last_write_wins', '{note}'"));
    resolve(&mut t, rejected, "'reject_both'");
    assert_eq!([get(&mut t, "artifact", artifact), get(&mut t, "note", note)], before);
}

#[test]
fn what_cannot_be_superseded_leaves_the_conflict_open() {
    let mut t = Tree::new("conflict");
    for kind in ["artifact", "note"] {
        let [a, b, c] = [0, 1, 2].map(|_| item(&mut t, kind, ""));
        let id = between(&mut t, kind, [a, b]);
        // The loser has another successor.
        t.db.run(&format!("SELECT caliber_{kind}_supersede('{a}', '{c}')"));
        refused(&mut t, &format!("resolve('{id}', 'last_write_wins', '{b}')"), "55000");
        // The winner would become its own successor.
        t.db.run(&format!("SELECT caliber_{kind}_supersede('{c}', '{b}')"));
        refused(&mut t, &format!("resolve('{id}', 'last_write_wins', '{a}')"), "55000");
        assert_eq!(get(&mut t, "conflict", id)["status"], json!("detected"));
    }
}

#[test]
fn conflicts_go_with_their_trajectory() {
    let mut t = Tree::new("conflict");
    let trajectory: Uuid = t.db.one("SELECT caliber_trajectory_create('n')");
    let kept = of_files(&mut t);
    let items = format!("'goal_conflict', 'file', '{A}', 'file', '{B}'");
    let gone = create(&mut t, &format!("{items}, trajectory_id => '{trajectory}'"));
    t.db.run(&format!("SELECT caliber_trajectory_delete('{trajectory}')"));
    assert_eq!(get(&mut t, "conflict", gone), Value::Null);
    assert_eq!(pending(&mut t, ""), [kept]);
}

#[test]
fn a_transaction_sees_its_own_conflicts() {
    let mut t = Tree::new("conflict");
    let mut other = t.connect();
    let items = [item(&mut t, "note", ""), item(&mut t, "note", "")];
    t.db.run("BEGIN");
    let id = between(&mut t, "note", items);
    assert_eq!(pending(&mut t, ""), [id]);
    t.db.run("SAVEPOINT s");
    resolve(&mut t, id, "'last_write_wins'");
    assert!(pending(&mut t, "").is_empty());
    t.db.run("ROLLBACK TO s");
    assert_eq!(pending(&mut t, ""), [id]);
    assert_eq!(get(&mut t, "note", items[0])["superseded_by"], Value::Null);
    assert_eq!(other.json(&format!("caliber_conflict_get('{id}')")), Value::Null);
    t.db.run("COMMIT");
    assert_eq!(other.json(&format!("caliber_conflict_get('{id}')")), get(&mut t, "conflict", id));
}
