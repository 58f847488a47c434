//! Search by embedding: how much of the true answer it finds, and that a filter hides nothing.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::Write as _;

use caliber_tests::{Db, DbError, Schema, Tree, UNKNOWN};
use serde_json::{Value, json};
use uuid::Uuid;

/// Random numbers (SplitMix64), the same for the same seed.
struct Random(u64);

impl Random {
    /// A generator whose seed a failing test shows; `CALIBER_TEST_SEED` repeats it.
    fn new(seed: u64) -> Self {
        let seed = std::env::var("CALIBER_TEST_SEED").map_or(seed, |seed| seed.parse().unwrap());
        println!("CALIBER_TEST_SEED={seed}");
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// About normal, with deviation 1.
    fn normal(&mut self) -> f32 {
        let unit = |bits: u64| (bits >> 40) as f32 / (1u64 << 24) as f32;
        let sum: f32 = (0..12).map(|_| unit(self.next())).sum();
        sum - 6.0
    }

    fn normals(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.normal()).collect()
    }

    /// A vector of 8 small numbers, as a literal without quotes.
    fn small(&mut self) -> String {
        vector(&self.normals(8))
    }
}

fn vector(values: &[f32]) -> String {
    let mut text = String::from("[");
    for value in values {
        let _ = write!(text, "{value:.4},");
    }
    text.pop();
    text + "]"
}

/// A topic: vectors near to a center, spread in a few directions, as embeddings of texts are.
struct Topic {
    center: Vec<f32>,
    directions: Vec<Vec<f32>>,
}

impl Topic {
    const DIMENSIONS: usize = 384;

    fn new(random: &mut Random) -> Self {
        Self {
            center: random.normals(Self::DIMENSIONS),
            directions: (0..8).map(|_| random.normals(Self::DIMENSIONS)).collect(),
        }
    }

    fn text(&self, random: &mut Random) -> String {
        let mut values = self.center.clone();
        for direction in &self.directions {
            let along = 0.3 * random.normal();
            for (value, step) in values.iter_mut().zip(direction) {
                *value += along * step;
            }
        }
        for value in &mut values {
            *value += 0.05 * random.normal();
        }
        vector(&values)
    }
}

/// What a search found: ids and distances, in its order.
type Found = Vec<(Uuid, f64)>;

fn rows(db: &mut Db, sql: &str) -> Found {
    let rows = db.query(sql, &[]).unwrap_or_else(|e| panic!("{}", caliber_tests::show(&e, sql)));
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// Searches notes or artifacts; `arguments` come after the embedding.
#[track_caller]
fn search(db: &mut Db, entity: &str, query: &str, arguments: &str) -> Found {
    rows(
        db,
        &format!(
            "SELECT (s.{entity}).{entity}_id, s.distance
             FROM caliber_{entity}_search('{query}', {arguments}) s"
        ),
    )
}

/// The true answer, by a scan of the whole table.
#[track_caller]
fn brute_force(db: &mut Db, entity: &str, query: &str, k: usize, condition: &str) -> Found {
    db.run("BEGIN; SET LOCAL enable_indexscan = off; SET LOCAL enable_bitmapscan = off");
    let found = rows(
        db,
        &format!(
            "SELECT {entity}_id::uuid, embedding <=> '{query}' FROM caliber_{entity}
             WHERE embedding IS NOT NULL AND vector_norm(embedding) > 0 AND superseded_by IS NULL
                 AND (expires_at IS NULL OR expires_at > transaction_timestamp()) AND {condition}
             ORDER BY 2 LIMIT {k}"
        ),
    );
    db.run("COMMIT");
    found
}

/// The distances are pgvector's, and rise.
#[track_caller]
fn is_ordered(db: &mut Db, entity: &str, query: &str, found: &Found) {
    for (id, distance) in found {
        let true_distance: f64 = db.one(&format!(
            "SELECT embedding <=> '{query}' FROM caliber_{entity} WHERE {entity}_id = '{id}'"
        ));
        assert!((distance - true_distance).abs() < 1e-6, "{id}: {distance}, not {true_distance}");
    }
    // The index works on normalized vectors: the last digits may differ.
    assert!(found.windows(2).all(|pair| pair[0].1 <= pair[1].1 + 1e-6), "{found:?}");
    let ids: HashSet<Uuid> = found.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids.len(), found.len(), "a row was found twice");
}

/// The search finds the true answer; rows of the same distance may change places.
#[track_caller]
fn is_exact(db: &mut Db, entity: &str, query: &str, found: &Found, truth: &Found) {
    is_ordered(db, entity, query, found);
    assert_eq!(found.len(), truth.len(), "{query}");
    for ((_, distance), (_, true_distance)) in found.iter().zip(truth) {
        assert!((distance - true_distance).abs() < 1e-6, "{query}: {found:?}, not {truth:?}");
    }
}

#[track_caller]
fn copy_notes(db: &mut Db, notes: &[(&str, String)]) {
    let mut copy =
        db.copy_in("COPY caliber_note (note_type, title, content, embedding) FROM STDIN").unwrap();
    for (i, (note_type, embedding)) in notes.iter().enumerate() {
        writeln!(copy, "{note_type}\tnote {i}\tcontent {i}\t{embedding}").unwrap();
    }
    copy.finish().unwrap();
}

#[test]
fn of_20_000_notes_the_nearest_are_found() {
    const QUERIES: usize = 50;
    let mut random = Random::new(20_000);
    let topics: Vec<Topic> = (0..100).map(|_| Topic::new(&mut random)).collect();
    let notes: Vec<(&str, String)> = (0..20_000)
        .map(|i| {
            // 15 of them are rare.
            let note_type = if i % 1_334 == 7 { "rare" } else { "fact" };
            (note_type, topics[random.below(topics.len())].text(&mut random))
        })
        .collect();
    let schema = Schema::bare("recall");
    let mut db = schema.connect();
    db.run(&format!("SELECT caliber_init('{}', 384)", schema.name()));
    // Most rows are there before the index, the others come through it.
    let index: String = db.one("SELECT pg_get_indexdef('caliber_note_embedding_idx'::regclass)");
    let (before, after) = notes.split_at(18_000);
    db.run("DROP INDEX caliber_note_embedding_idx; SET maintenance_work_mem = '256MB'");
    copy_notes(&mut db, before);
    db.run(&index);
    copy_notes(&mut db, after);
    db.run("ANALYZE caliber_note");

    let queries: Vec<String> =
        (0..QUERIES).map(|_| topics[random.below(topics.len())].text(&mut random)).collect();
    let mut hits = 0;
    for query in &queries {
        let found = search(&mut db, "note", query, "10");
        assert_eq!(found.len(), 10);
        is_ordered(&mut db, "note", query, &found);
        let truth = brute_force(&mut db, "note", query, 10, "true");
        hits += truth.iter().filter(|(id, _)| found.iter().any(|(other, _)| other == id)).count();
    }
    let recall = hits as f64 / (10 * QUERIES) as f64;
    println!("recall {recall}");
    assert!(recall >= 0.95, "recall {recall}");

    // Through the index alone, not by a scan of the table.
    let scans = |db: &mut Db| {
        ["caliber_note_embedding_idx", "caliber_note"].map(|relation| {
            db.one::<i64>(&format!("SELECT pg_stat_get_xact_numscans('{relation}'::regclass)"))
        })
    };
    db.run("BEGIN");
    let before = scans(&mut db);
    search(&mut db, "note", &queries[0], "10");
    assert_eq!(scans(&mut db), [before[0] + 1, before[1]]);
    db.run("COMMIT");

    // A filter that drops nearly all rows hides none of those that it keeps.
    let rare: HashSet<Uuid> = db
        .all("SELECT note_id::uuid FROM caliber_note WHERE note_type = 'rare'")
        .into_iter()
        .collect();
    assert_eq!(rare.len(), 15);
    for query in &queries[..10] {
        let found = search(&mut db, "note", query, "10, note_type => 'rare'");
        assert_eq!(found.len(), 10);
        is_ordered(&mut db, "note", query, &found);
        assert!(found.iter().all(|(id, _)| rare.contains(id)));
        let found = search(&mut db, "note", query, "note_type => 'rare', k => 20");
        assert_eq!(found.len(), 15);
        let truth = brute_force(&mut db, "note", query, 20, "note_type = 'rare'");
        is_exact(&mut db, "note", query, &found, &truth);
        assert!(search(&mut db, "note", query, "10, 'no such type'").is_empty());
    }

    // Of what went stale or away nothing is found, and k rows still are.
    let query = &queries[0];
    let nearest = search(&mut db, "note", query, "30");
    assert_eq!(nearest.len(), 30);
    for (i, (id, _)) in nearest.iter().enumerate() {
        db.run(&match i % 3 {
            0 => format!("DELETE FROM caliber_note WHERE note_id = '{id}'"),
            1 => {
                format!("SELECT caliber_note_update('{id}', '{{\"expires_at\": \"2020-01-01\"}}')")
            }
            _ => format!(
                "SELECT caliber_note_supersede('{id}', min(note_id::text)::uuid)
                 FROM caliber_note WHERE note_type = 'rare' AND note_id <> '{id}'"
            ),
        });
    }
    let found = search(&mut db, "note", query, "30");
    assert_eq!(found.len(), 30);
    is_ordered(&mut db, "note", query, &found);
    for (id, _) in &found {
        assert!(nearest.iter().all(|(gone, _)| gone != id), "{id} is gone");
    }
    // More than an index scan returns at once.
    assert_eq!(search(&mut db, "note", query, "2000").len(), 2_000);
}

/// A tree with some notes and artifacts of 8 dimensions.
fn small_tree(random: &mut Random, count: usize) -> Tree {
    let mut t = Tree::new("search");
    for _ in 0..count {
        for entity in ["note", "artifact"] {
            let vector = random.small();
            insert(&mut t, entity, &format!("'{vector}'"), "");
        }
    }
    t
}

#[track_caller]
fn insert(t: &mut Tree, entity: &str, embedding: &str, more: &str) -> Uuid {
    let first = match entity {
        "artifact" => format!("'{}', '{}', ", t.trajectory, t.scope),
        _ => String::new(),
    };
    t.db.one(&format!(
        "SELECT caliber_{entity}_create({first}'fact', 'n', 'c', embedding => {embedding}{more})"
    ))
}

#[test]
fn a_small_table_is_searched_exactly() {
    let mut random = Random::new(1);
    let mut t = small_tree(&mut random, 30);
    for entity in ["note", "artifact"] {
        for k in [1, 2, 10, 29, 30, 31, 1000, i32::MAX] {
            let query = random.small();
            let found = search(&mut t.db, entity, &query, &k.to_string());
            let truth = brute_force(&mut t.db, entity, &query, k as usize, "true");
            is_exact(&mut t.db, entity, &query, &found, &truth);
            assert_eq!(found.len(), 30.min(k as usize));
        }
        // 10 by default, and whole rows.
        let query = random.small();
        let found: Vec<Value> = t
            .db
            .all(&format!("SELECT to_jsonb(s.{entity}) FROM caliber_{entity}_search('{query}') s"));
        assert_eq!(found.len(), 10);
        for row in found {
            let id = row[format!("{entity}_id")].as_str().unwrap().to_owned();
            assert_eq!(t.db.json(&format!("caliber_{entity}_get('{id}')")), row);
        }
    }
}

#[test]
fn an_empty_table_has_nothing_to_find() {
    let mut t = Tree::new("search");
    for entity in ["note", "artifact"] {
        assert!(search(&mut t.db, entity, "[1,0,0,0,0,0,0,0]", "5").is_empty());
    }
}

#[test]
fn only_live_rows_with_an_embedding_are_found() {
    let mut t = Tree::new("search");
    let query = "[1,0,0,0,0,0,0,0]";
    for entity in ["note", "artifact"] {
        let far = insert(&mut t, entity, "'[-1,0,0,0,0,0,0,0]'", "");
        insert(&mut t, entity, "NULL", "");
        insert(&mut t, entity, "'[0,0,0,0,0,0,0,0]'", "");
        let expired = insert(&mut t, entity, &format!("'{query}'"), "");
        let superseded = insert(&mut t, entity, &format!("'{query}'"), "");
        t.db.run(&format!(
            "SELECT caliber_{entity}_update('{expired}', '{{\"expires_at\": \"2020-01-01\"}}');
             SELECT caliber_{entity}_supersede('{superseded}', '{far}')"
        ));
        assert_eq!(search(&mut t.db, entity, query, "10"), [(far, 2.0)]);
        // What ends at the transaction's start time has ended.
        t.db.run("BEGIN");
        for (moment, found) in [("0", false), ("1 microsecond", true)] {
            let end = t.db.json(&format!("transaction_timestamp() + interval '{moment}'"));
            t.db.run(&format!(
                "SELECT caliber_{entity}_update('{expired}', '{{\"expires_at\": {end}}}')"
            ));
            let ids: Vec<Uuid> =
                search(&mut t.db, entity, query, "10").iter().map(|(id, _)| *id).collect();
            assert_eq!(ids.contains(&expired), found, "{moment}");
        }
        t.db.run("ROLLBACK");
        // They come back with their embedding, their time, and without a successor.
        t.db.run(&format!(
            "SELECT caliber_{entity}_update('{expired}', '{{\"expires_at\": null}}');
             UPDATE caliber_{entity} SET superseded_by = NULL;
             UPDATE caliber_{entity} SET embedding = '{query}' WHERE embedding IS NULL"
        ));
        let found = search(&mut t.db, entity, query, "10");
        assert_eq!(found.iter().map(|(_, d)| *d).collect::<Vec<_>>(), [0.0, 0.0, 0.0, 2.0]);
    }
}

#[test]
fn filters_are_exact() {
    let mut random = Random::new(2);
    let mut t = small_tree(&mut random, 40);
    let (trajectory, query) = (t.trajectory, random.small());
    let other: Uuid = t.db.one("SELECT caliber_trajectory_create('other')");
    let scope: Uuid = t.db.one(&format!("SELECT caliber_scope_create('{other}', 's', 9)"));
    for _ in 0..3 {
        let [x, y] = [random.small(), random.small()];
        t.db.run(&format!(
            "SELECT caliber_artifact_create('{other}', '{scope}', 'fact', 'n', 'c', '{x}');
             SELECT caliber_note_create('meta', 'n', 'c', embedding => '{y}')"
        ));
    }
    for (entity, filter, condition, count) in [
        (
            "artifact",
            format!("trajectory_id => '{other}'"),
            format!("trajectory_id = '{other}'"),
            3,
        ),
        (
            "artifact",
            format!("trajectory_id => '{trajectory}'"),
            format!("trajectory_id = '{trajectory}'"),
            40,
        ),
        ("artifact", format!("trajectory_id => '{UNKNOWN}'"), "false".to_owned(), 0),
        ("artifact", "trajectory_id => NULL".to_owned(), "true".to_owned(), 43),
        ("note", "note_type => 'meta'".to_owned(), "note_type = 'meta'".to_owned(), 3),
        ("note", "note_type => 'META'".to_owned(), "false".to_owned(), 0),
        ("note", "note_type => NULL".to_owned(), "true".to_owned(), 43),
    ] {
        for k in [1, 2, 100] {
            let found = search(&mut t.db, entity, &query, &format!("{k}, {filter}"));
            let truth = brute_force(&mut t.db, entity, &query, k, &condition);
            is_exact(&mut t.db, entity, &query, &found, &truth);
            assert_eq!(found.len(), count.min(k), "{filter}");
        }
    }
}

#[test]
fn bad_arguments_are_refused() {
    let mut t = small_tree(&mut Random::new(3), 3);
    let names = |error: &DbError, word: &str| {
        let texts = [Some(error.message()), error.detail()];
        assert!(texts.iter().flatten().any(|text| text.contains(word)), "{word}: {error:?}");
    };
    for entity in ["note", "artifact"] {
        for (arguments, sqlstate, word) in [
            ("NULL", "22023", "embedding"),
            ("'[0,0,0,0,0,0,0,0]'", "22023", "embedding"),
            ("'[1,0,0,0,0,0,0,0]', 0", "22023", "\"k\""),
            ("'[1,0,0,0,0,0,0,0]', -5", "22023", "\"k\""),
            ("'[1,0,0,0,0,0,0,0]', NULL", "22023", "\"k\""),
            ("'[1,2,3]'", "22000", "expected 8 dimensions, not 3"),
            ("'[1,2'", "22P02", "vector"),
        ] {
            for call in ["SELECT", "SELECT * FROM"] {
                let sql = format!("{call} caliber_{entity}_search({arguments})");
                let error =
                    t.db.refused_unchanged(&sql, sqlstate, &["caliber_note", "caliber_artifact"]);
                names(&error, word);
            }
        }
    }
}

#[test]
fn after_any_change_search_agrees_with_brute_force() {
    let mut random = Random::new(4);
    let mut t = small_tree(&mut random, 60);
    for round in 0..30 {
        for entity in ["note", "artifact"] {
            for _ in 0..10 {
                change(&mut t, &mut random, entity);
            }
            let query = random.small();
            let found = search(&mut t.db, entity, &query, "1000");
            let truth = brute_force(&mut t.db, entity, &query, 1000, "true");
            is_exact(&mut t.db, entity, &query, &found, &truth);
            assert!(truth.len() > 10, "too little is left to test");
            if round == 15 {
                t.db.run(&format!("VACUUM caliber_{entity}"));
            }
        }
    }
}

/// A random change of one row, or a new one.
fn change(t: &mut Tree, random: &mut Random, entity: &str) {
    let mut ids: Vec<Uuid> =
        t.db.all(&format!("SELECT {entity}_id::uuid FROM caliber_{entity} ORDER BY 1"));
    let mut pick = |random: &mut Random| ids.swap_remove(random.below(ids.len()));
    let (id, other, vector) = (pick(random), pick(random), random.small());
    let update = |arguments: &str| format!("SELECT caliber_{entity}_update('{id}', {arguments})");
    let sql = match random.below(9) {
        0 => update(&format!("'{{}}', '{vector}'")),
        // Without a new index entry, where the page has room.
        1 | 2 => update(&format!("'{{\"metadata\": {}}}'", random.next() >> 1)),
        3 => update(&format!("'{{\"content\": \"{}\"}}'", random.next())),
        4 => update("'{\"expires_at\": \"2020-01-01\"}'"),
        5 => update("'{\"expires_at\": null}'"),
        6 => format!("DELETE FROM caliber_{entity} WHERE {entity}_id = '{id}'"),
        7 if random.below(2) == 0 => format!(
            "UPDATE caliber_{entity} SET superseded_by = CASE WHEN superseded_by IS NULL THEN '{other}'::uuid END
             WHERE {entity}_id = '{id}'"
        ),
        _ => {
            let embedding = if random.below(8) == 0 { "NULL".to_owned() } else { format!("'{vector}'") };
            insert(t, entity, &embedding, "");
            return;
        }
    };
    t.db.run(&sql);
}

#[test]
fn a_transaction_finds_its_own_rows() {
    let mut t = Tree::new("search");
    let mut other = t.connect();
    let query = "[1,2,3,4,5,6,7,8]";
    for entity in ["note", "artifact"] {
        t.db.run("BEGIN");
        let a = insert(&mut t, entity, &format!("'{query}'"), "");
        t.db.run("SAVEPOINT s");
        insert(&mut t, entity, "'[8,7,6,5,4,3,2,1]'", "");
        assert_eq!(search(&mut t.db, entity, query, "5").len(), 2);
        t.db.run("ROLLBACK TO s");
        assert_eq!(search(&mut t.db, entity, query, "5"), [(a, 0.0)]);
        assert!(search(&mut other, entity, query, "5").is_empty());
        t.db.run("COMMIT");
        assert_eq!(search(&mut other, entity, query, "5"), [(a, 0.0)]);
    }
}

#[test]
fn the_settings_of_the_session_stay() {
    let mut t = small_tree(&mut Random::new(5), 60);
    t.db.run("SELECT '[1]'::vector; SET hnsw.ef_search = 7; SET hnsw.iterative_scan = off; SET enable_seqscan = on");
    let settings = "ARRAY(SELECT name || '=' || setting FROM pg_settings ORDER BY name)";
    let before = t.db.json(settings);
    for entity in ["note", "artifact"] {
        assert_eq!(search(&mut t.db, entity, "[1,0,0,0,0,0,0,0]", "50").len(), 50);
        assert_eq!(t.db.json(settings), before);
        let refused = format!("SELECT caliber_{entity}_search('[1]')");
        t.db.refused(&refused, "22000");
        assert_eq!(t.db.json(settings), before);
    }
}

#[test]
fn more_dimensions_than_an_index_takes_are_searched() {
    let mut random = Random::new(6);
    let schema = Schema::bare("search");
    let mut db = schema.connect();
    db.run(&format!("SELECT caliber_init('{}', 2500)", schema.name()));
    let notes: Vec<(&str, String)> =
        (0..60).map(|_| ("fact", vector(&random.normals(2_500)))).collect();
    copy_notes(&mut db, &notes);
    for k in [1, 10, 60, 100] {
        // What is near is near in half precision, too; all rows are found in any precision.
        let query = if k < 60 { notes[k].1.clone() } else { vector(&random.normals(2_500)) };
        let found = search(&mut db, "note", &query, &k.to_string());
        let truth = brute_force(&mut db, "note", &query, k, "true");
        assert_eq!(found.len(), k.min(60));
        assert_eq!(found[0], truth[0]);
        for (id, distance) in &found {
            let true_distance: f64 = db.one(&format!(
                "SELECT embedding <=> '{query}' FROM caliber_note WHERE note_id = '{id}'"
            ));
            assert!((distance - true_distance).abs() < 1e-2, "{distance}, not {true_distance}");
        }
        if k >= 60 {
            let ids = |found: &Found| found.iter().map(|(id, _)| *id).collect::<HashSet<_>>();
            assert_eq!(ids(&found), ids(&truth));
        }
    }
    assert_eq!(db.one::<i64>("SELECT count(*) FROM caliber_check(current_schema())"), 0);
    let dimensions: i32 = db.one("SELECT vector_dims((caliber_note_get(min(note_id::text)::uuid)).embedding) FROM caliber_note");
    assert_eq!(json!(dimensions), json!(2500));
}
