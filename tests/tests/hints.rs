//! Hints of where rows are: whatever others do to a table, a look-up by id answers what a SELECT
//! with the same snapshot answers.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use caliber_tests::{Db, Schema};

const ROWS: i32 = 400;

/// What may move rows, empty their places, or put other rows there.
const DISTURBANCES: &[&str] = &[
    "UPDATE caliber_note SET metadata = to_jsonb(random()) WHERE random() < 0.3",
    "SELECT count(caliber_note_touch(note_id)) FROM caliber_note WHERE random() < 0.3",
    "DELETE FROM caliber_note WHERE random() < 0.2",
    "UPDATE caliber_note SET note_type = 'other' WHERE random() < 0.2",
    "VACUUM caliber_note",
    "DELETE FROM caliber_note WHERE note_id > (SELECT note_id FROM caliber_note ORDER BY 1 OFFSET 50 LIMIT 1)",
    "VACUUM (TRUNCATE) caliber_note",
    "TRUNCATE caliber_note",
    "VACUUM FULL caliber_note",
    "CLUSTER caliber_note USING caliber_note_pkey",
    "ALTER TABLE caliber_note ALTER title TYPE text USING title || ''",
    "BEGIN; ALTER TABLE caliber_note SET ACCESS METHOD heap;
     ALTER TABLE caliber_note SET ACCESS METHOD caliber_am; COMMIT",
    "REINDEX TABLE caliber_note",
];

/// Puts back the rows that are gone, under the same ids and in another order.
const REFILL: &str = "INSERT INTO caliber_note (note_id, note_type, title, content)
    SELECT id, 'fact', md5(random()::text), repeat('x', (random() * 300)::int)
    FROM wanted ORDER BY random() ON CONFLICT DO NOTHING";

/// Ids for which a look-up and a SELECT of one snapshot differ.
const DIFFERENCES: &str = "SELECT count(*) FROM wanted w
    WHERE to_jsonb(caliber_note_get(w.id)) IS DISTINCT FROM
          (SELECT to_jsonb(n) FROM caliber_note n WHERE n.note_id = w.id)";

fn schema_with_notes() -> Schema {
    let schema = Schema::new("hints");
    let mut db = schema.connect();
    db.run(&format!(
        "CREATE TABLE wanted AS SELECT caliber_new_id() AS id FROM generate_series(1, {ROWS})"
    ));
    db.run(REFILL);
    schema
}

fn compare(db: &mut Db, after: &str) {
    let differences: i64 = db.one(DIFFERENCES);
    assert_eq!(differences, 0, "after {after}");
}

#[test]
fn a_look_up_answers_as_a_select_after_each_disturbance() {
    let schema = schema_with_notes();
    let (mut reader, mut writer) = (schema.connect(), schema.connect());
    compare(&mut reader, "nothing");
    for disturbance in DISTURBANCES {
        for round in 0..2 {
            writer.run(disturbance);
            compare(&mut reader, disturbance);
            // The second time the places are filled by other rows than before.
            if round == 1 {
                writer.run(REFILL);
                compare(&mut reader, "a refill");
            }
        }
    }
}

#[test]
fn a_look_up_answers_as_a_select_while_others_write() {
    let schema = schema_with_notes();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut db = schema.connect();
                    let mut compared = 0;
                    while !done.load(Ordering::Relaxed) || compared == 0 {
                        compare(&mut db, "writes of others");
                        compared += 1;
                    }
                })
            })
            .collect();
        // DDL waits for the readers, who hold their locks for one statement only.
        let mut writer = schema.connect();
        for round in 0..4 {
            for disturbance in DISTURBANCES.iter().cycle().skip(round * 5).take(DISTURBANCES.len())
            {
                writer.run(disturbance);
                writer.run(REFILL);
            }
        }
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            reader.join().unwrap();
        }
    });
}

#[test]
fn a_look_up_sees_its_own_transaction_and_what_a_rollback_leaves() {
    let schema = schema_with_notes();
    let mut db = schema.connect();
    compare(&mut db, "nothing");
    db.run("BEGIN; UPDATE caliber_note SET title = 'new'; SAVEPOINT s; DELETE FROM caliber_note");
    compare(&mut db, "a deletion of its own");
    db.run("ROLLBACK TO s");
    compare(&mut db, "a rollback to a savepoint");
    db.run("TRUNCATE caliber_note");
    compare(&mut db, "a truncation of its own");
    db.run(REFILL);
    compare(&mut db, "a refill");
    db.run("ROLLBACK");
    compare(&mut db, "a rollback");
}

#[test]
fn an_old_snapshot_finds_what_it_saw() {
    let schema = schema_with_notes();
    let (mut reader, mut writer) = (schema.connect(), schema.connect());
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        compare(&mut reader, "nothing");
        reader.run(&format!("BEGIN ISOLATION LEVEL {level}"));
        let before: String = reader
            .one("SELECT md5(string_agg(caliber_note_get(id)::text, '' ORDER BY id)) FROM wanted");
        writer.run("UPDATE caliber_note SET note_type = 'moved'; DELETE FROM caliber_note WHERE random() < 0.5");
        let after: String = reader
            .one("SELECT md5(string_agg(caliber_note_get(id)::text, '' ORDER BY id)) FROM wanted");
        assert_eq!(after, before, "{level}");
        compare(&mut reader, "writes that the snapshot does not see");
        reader.run("COMMIT");
        writer.run(REFILL);
    }
}

#[test]
fn the_setting_turns_hints_off_and_bounds_them() {
    let schema = schema_with_notes();
    let mut db = schema.connect();
    for size in ["0", "1kB", "64kB", "2MB"] {
        db.run(&format!("SET caliber.hint_cache_size = '{size}'"));
        compare(&mut db, size);
        compare(&mut db, size);
    }
    db.refused("SET caliber.hint_cache_size = -1", "22023");
    db.refused("SET caliber.hint_cache_size = '2GB'", "22023");
}
