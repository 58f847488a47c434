//! Databases of another encoding than UTF-8.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use caliber_tests::{Db, Server};

/// A database in LATIN1, dropped when it goes away.
struct Latin1(String);

impl Latin1 {
    fn new(test: &str) -> (Self, Db) {
        let name = format!("latin1_{test}_{}", std::process::id());
        let mut db = Server::get().connect();
        db.run(&format!("DROP DATABASE IF EXISTS {name}"));
        db.run(&format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'"));
        let mut db = Server::get().connect_to(&name);
        db.run("CREATE EXTENSION \"caliber-pg\" CASCADE; SELECT caliber_init('caliber', 8)");
        (Self(name), db)
    }
}

impl Drop for Latin1 {
    fn drop(&mut self) {
        let drop = format!("DROP DATABASE {} WITH (FORCE)", self.0);
        if let Err(error) = Server::get().connect().attempt(&drop) {
            eprintln!("database {} stays: {error}", self.0);
        }
    }
}

#[test]
fn text_and_json_keep_their_characters() {
    let (_latin1, mut db) = Latin1::new("kept");
    let trajectory: String = db.one("SELECT caliber_trajectory_create('Prüfung')::text");
    let scope: String =
        db.one(&format!("SELECT caliber_scope_create('{trajectory}', 's', 1000)::text"));
    db.run(&format!(
        "SELECT caliber_trajectory_update('{trajectory}', '{{\"description\": \"Größe\", \"metadata\": {{\"ä\": \"ö\"}}}}');
         SELECT caliber_turn_append_many('{scope}', '[{{\"role\": \"user\", \"content\": \"Käse und Brötchen\"}}]')"
    ));
    let row: (String, String, String) = {
        let sql = format!(
            "SELECT name || ' ' || description, metadata->>'ä',
             (SELECT content FROM caliber.caliber_turn) FROM caliber.caliber_trajectory
             WHERE trajectory_id = '{trajectory}'"
        );
        let row = db.query_one(&sql, &[]).unwrap();
        (row.get(0), row.get(1), row.get(2))
    };
    assert_eq!(row, ("Prüfung Größe".into(), "ö".into(), "Käse und Brötchen".into()));
    // The hash is that of the UTF-8 bytes, as in any other database.
    db.run("SELECT caliber_note_create('fact', 't', 'ü§é')");
    let same: bool = db.one(
        "SELECT content_hash = sha256(convert_to(content, 'UTF8')) AND octet_length(content) = 3
         FROM caliber.caliber_note",
    );
    assert!(same);
}

#[test]
fn a_character_that_the_database_lacks_is_refused() {
    let (_latin1, mut db) = Latin1::new("lacking");
    let trajectory: String = db.one("SELECT caliber_trajectory_create('t')::text");
    let sql = format!(
        "SELECT caliber_trajectory_update('{trajectory}', E'{{\"description\": \"\\\\u2603\"}}')"
    );
    db.refused_unchanged(&sql, "22P05", &["caliber.caliber_trajectory"]);
}
