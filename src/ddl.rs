//! The statements that create the entity tables, from the files in `sql/tables`.
//!
//! In a file each statement ends with `;` at the end of a line, and a blank line follows.
//! Comments are whole lines, outside of literals. The comment `-- @when dim <= 2000` (or `>`)
//! restricts the statement below it to such an embedding dimension. Names stand for what differs
//! between databases: `@schema@`, `@extschema@`, `@vector@` (schemas) and `@dim@`.

use caliber_am::error::{CaliberError, CaliberResult};

/// The files. What a file's statements refer to may stand in any file.
const FILES: &[&str] = &[
    include_str!("../sql/tables/trajectory.sql"),
    include_str!("../sql/tables/scope.sql"),
    include_str!("../sql/tables/turn.sql"),
    include_str!("../sql/tables/artifact.sql"),
    include_str!("../sql/tables/note.sql"),
    include_str!("../sql/tables/agent.sql"),
    include_str!("../sql/tables/lock.sql"),
    include_str!("../sql/tables/message.sql"),
    include_str!("../sql/tables/delegation.sql"),
    include_str!("../sql/tables/handoff.sql"),
    include_str!("../sql/tables/conflict.sql"),
    include_str!("../sql/tables/views.sql"),
];

/// The most dimensions that pgvector can index, as halfvec.
const MAX_DIM: i32 = 4000;

/// Where and how the tables are created. Names are given without quotes.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The schema of the tables.
    pub schema: &'a str,
    /// The schema of this extension.
    pub extension_schema: &'a str,
    /// The schema of pgvector.
    pub vector_schema: &'a str,
    /// The number of dimensions of embeddings.
    pub embedding_dim: i32,
}

/// What a statement is about. Names are those in the target's schema, and need no quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Object {
    /// It creates this sequence.
    Sequence(&'static str),
    /// It creates this table.
    Table(&'static str),
    /// It creates this view.
    View(&'static str),
    /// It creates this index.
    Index(&'static str),
    /// It adds a constraint to a table.
    Constraint {
        /// The table.
        table: &'static str,
        /// The constraint.
        name: &'static str,
    },
    /// It comments on this table, sequence or view, or on a column of it.
    Comment(&'static str),
}

/// One statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// What it is about.
    pub object: Object,
    /// Its SQL, without the semicolon.
    pub sql: String,
}

/// The statements for a target, in an order in which they can be run: sequences, tables, indexes,
/// constraints, views, comments. They are to be run with `standard_conforming_strings` on.
///
/// # Errors
/// 22023 for an embedding dimension that pgvector cannot index, and for a schema whose name is
/// empty or ends
/// a dollar-quoted literal of the files.
pub fn statements(target: &Target) -> CaliberResult<Vec<Statement>> {
    if !(1..=MAX_DIM).contains(&target.embedding_dim) {
        return Err(CaliberError::Argument {
            argument: "embedding_dim",
            reason: format!("Embeddings cannot have {} dimensions.", target.embedding_dim),
            hint: Some(format!("pgvector can index 1 to {MAX_DIM} dimensions.")),
        });
    }
    if target.schema.is_empty() {
        return Err(CaliberError::argument("schema", "The name of a schema cannot be empty."));
    }
    let mut statements = Vec::new();
    for file in FILES {
        statements.extend(parse(file, target)?);
    }
    statements.sort_by_key(|statement| rank(&statement.object));
    Ok(statements)
}

/// The names of the tables, in the order of the files.
pub fn tables() -> impl Iterator<Item = &'static str> {
    FILES.iter().flat_map(|file| file.lines()).filter_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        match object(&words) {
            Some(Object::Table(name)) => Some(name),
            _ => None,
        }
    })
}

/// A name as SQL writes it, always in quotes: so no list of keywords is needed.
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn rank(object: &Object) -> u8 {
    match object {
        Object::Sequence(_) => 0,
        Object::Table(_) => 1,
        Object::Index(_) => 2,
        Object::Constraint { .. } => 3,
        Object::View(_) => 4,
        Object::Comment(_) => 5,
    }
}

/// The statements of one file that the target needs, in the file's order.
fn parse(file: &'static str, target: &Target) -> CaliberResult<Vec<Statement>> {
    let mut statements = Vec::new();
    for block in file.split("\n\n") {
        let (comments, lines): (Vec<_>, Vec<_>) =
            block.lines().partition(|line| line.trim_start().starts_with("--"));
        let wanted = comments.iter().all(|comment| holds(comment, target.embedding_dim));
        let words: Vec<_> = lines.iter().flat_map(|line| line.split_whitespace()).collect();
        if let (true, Some(object)) = (wanted, object(&words)) {
            let template = lines.join("\n");
            let sql = substitute(template.trim_end().trim_end_matches(';'), target)?;
            statements.push(Statement { object, sql });
        }
    }
    Ok(statements)
}

/// Whether a comment allows the statement below it for this embedding dimension.
fn holds(comment: &str, dim: i32) -> bool {
    let words: Vec<_> = comment.split_whitespace().collect();
    match (words.as_slice(), words.last().and_then(|limit| limit.parse().ok())) {
        (["--", "@when", "dim", "<=", _], Some(limit)) => dim <= limit,
        (["--", "@when", "dim", ">", _], Some(limit)) => dim > limit,
        _ => true,
    }
}

/// What a statement is about; `None` for no statement.
fn object(words: &[&'static str]) -> Option<Object> {
    match *words {
        ["CREATE", "SEQUENCE", name, ..] => Some(Object::Sequence(local(name))),
        ["CREATE", "TABLE", name, ..] => Some(Object::Table(local(name))),
        ["CREATE", "VIEW", name, ..] => Some(Object::View(local(name))),
        ["CREATE", "INDEX", name, ..] | ["CREATE", "UNIQUE", "INDEX", name, ..] => {
            Some(Object::Index(local(name)))
        }
        ["ALTER", "TABLE", table, "ADD", "CONSTRAINT", name, ..] => {
            Some(Object::Constraint { table: local(table), name: local(name) })
        }
        ["COMMENT", "ON", _, name, ..] => Some(Object::Comment(local(name))),
        _ => None,
    }
}

/// The name in the target's schema, without that schema and without a column.
fn local(name: &'static str) -> &'static str {
    let name = name.strip_prefix("@schema@.").unwrap_or(name);
    name.find(['.', ';']).map_or(name, |end| &name[..end])
}

/// The statement for the target. Inside a literal `'...'` the quotes of a value are doubled.
fn substitute(template: &str, target: &Target) -> CaliberResult<String> {
    let values = [
        ("@schema@", quote_identifier(target.schema)),
        ("@extschema@", quote_identifier(target.extension_schema)),
        ("@vector@", quote_identifier(target.vector_schema)),
        ("@dim@", target.embedding_dim.to_string()),
    ];
    let (mut sql, mut rest) = (String::new(), template);
    let mut literal = ""; // what ends the literal that `rest` is in
    while let Some(at) = rest.find(['@', '\'', '$']) {
        sql.push_str(&rest[..at]);
        rest = &rest[at..];
        let placeholder = values.iter().find(|(name, _)| rest.starts_with(name));
        let token = match placeholder {
            Some((name, value)) if literal == "'" => {
                sql.push_str(&value.replace('\'', "''"));
                name
            }
            Some((_, value)) if !literal.is_empty() && value.contains(literal) => {
                let reason = format!("The name of a schema cannot have {literal} in it.");
                return Err(CaliberError::argument("schema", reason));
            }
            Some((name, value)) => {
                sql.push_str(value);
                name
            }
            None => {
                let token = delimiter(rest);
                sql.push_str(token);
                if token == literal {
                    literal = "";
                } else if literal.is_empty() && (token == "'" || token.len() > 1) {
                    literal = token;
                }
                token
            }
        };
        rest = &rest[token.len()..];
    }
    sql.push_str(rest);
    Ok(sql)
}

/// The `$tag$` that the text starts with, or else its first character, which is ASCII.
fn delimiter(text: &str) -> &str {
    let tag = |tag: &&str| tag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let after = text.strip_prefix('$').and_then(|rest| rest.split_once('$'));
    match after.map(|(tag, _)| tag).filter(tag) {
        Some(tag) => &text[..tag.len() + 2],
        None => &text[..1],
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::entity::ENTITIES;
    use proptest::prelude::*;
    use std::collections::HashSet;

    const PLAIN: Target = Target {
        schema: "caliber",
        extension_schema: "public",
        vector_schema: "public",
        embedding_dim: 1536,
    };

    fn lines(statements: &[Statement]) -> Vec<&str> {
        statements.iter().map(|s| &*s.sql).collect()
    }

    #[test]
    fn a_file_is_split_into_its_statements() {
        let file = "-- Thing: it's a thing.\n\n-- Why.\nCREATE TABLE @schema@.thing (\n    \
            -- it's\n    id int\n);\n\nCREATE INDEX thing_idx\n    ON @schema@.thing (id);\n\n\
            COMMENT ON COLUMN @schema@.thing.id IS\n'The thing''s id; a key.';\n\n\
            ALTER TABLE @schema@.thing\n    ADD CONSTRAINT thing_fkey\n    CHECK (true);\n\n\
            CREATE SEQUENCE @schema@.thing_seq;\n";
        let statements = parse(file, &PLAIN).unwrap();
        assert_eq!(
            lines(&statements),
            [
                "CREATE TABLE \"caliber\".thing (\n    id int\n)",
                "CREATE INDEX thing_idx\n    ON \"caliber\".thing (id)",
                "COMMENT ON COLUMN \"caliber\".thing.id IS\n'The thing''s id; a key.'",
                "ALTER TABLE \"caliber\".thing\n    ADD CONSTRAINT thing_fkey\n    CHECK (true)",
                "CREATE SEQUENCE \"caliber\".thing_seq",
            ]
        );
        let objects: Vec<_> = statements.iter().map(|s| s.object).collect();
        assert_eq!(
            objects,
            [
                Object::Table("thing"),
                Object::Index("thing_idx"),
                Object::Comment("thing"),
                Object::Constraint { table: "thing", name: "thing_fkey" },
                Object::Sequence("thing_seq"),
            ]
        );
    }

    #[test]
    fn the_dimension_decides_between_statements() {
        let file = "-- @when dim <= 2000\nCREATE INDEX i ON small (v);\n\n\
            -- @when dim > 2000\nCREATE INDEX i ON large (v::halfvec(@dim@));\n";
        let sql = |embedding_dim| {
            let statements = parse(file, &Target { embedding_dim, ..PLAIN }).unwrap();
            lines(&statements).join(";")
        };
        assert_eq!(sql(2000), "CREATE INDEX i ON small (v)");
        assert_eq!(sql(2001), "CREATE INDEX i ON large (v::halfvec(2001))");
    }

    #[test]
    fn names_are_quoted_for_the_place_where_they_stand() {
        let target = Target { schema: "It's \"My\" $x$ Schema", ..PLAIN };
        let quoted = "\"It's \"\"My\"\" $x$ Schema\"";
        let substituted = |template| substitute(template, &target);
        assert_eq!(substituted("@schema@.t").unwrap(), format!("{quoted}.t"));
        assert_eq!(
            substituted("'a''@schema@.t' @schema@").unwrap(),
            format!("'a''{} {quoted}", "\"It''s \"\"My\"\" $x$ Schema\".t'")
        );
        assert_eq!(
            substituted("$name$@schema@'$name$ '@schema@'").unwrap(),
            format!("$name${quoted}'$name$ '{}'", quoted.replace('\'', "''"))
        );
        assert_eq!(substituted("$1 @ '$' @dim@").unwrap(), "$1 @ '$' 1536");
        let error = substituted("$x$@schema@$x$").unwrap_err();
        assert_eq!(error.sqlstate(), "22023");
    }

    #[test]
    fn the_dimension_must_be_one_that_can_be_indexed() {
        for embedding_dim in [i32::MIN, 0, 4001, 16_000] {
            let error = statements(&Target { embedding_dim, ..PLAIN }).unwrap_err();
            assert_eq!(error.sqlstate(), "22023");
            assert_eq!(error.to_string(), "invalid value for argument \"embedding_dim\"");
            assert_eq!(error.hint().unwrap(), "pgvector can index 1 to 4000 dimensions.");
        }
        let error = statements(&Target { schema: "", ..PLAIN }).unwrap_err();
        assert_eq!(error.to_string(), "invalid value for argument \"schema\"");
    }

    #[test]
    fn every_statement_of_the_files_is_understood() {
        for file in FILES {
            let ends = file.lines().filter(|line| line.ends_with(';')).count();
            let whens: Vec<_> = file.lines().filter(|line| line.contains("@when")).collect();
            let above = |line: &&&str| holds(line, 1) != holds(line, 4000);
            assert_eq!(whens.iter().filter(above).count(), whens.len());
            let small = parse(file, &Target { embedding_dim: 2000, ..PLAIN }).unwrap().len();
            let large = parse(file, &Target { embedding_dim: 2001, ..PLAIN }).unwrap().len();
            assert_eq!(small + whens.len() / 2, ends);
            assert_eq!(large, small);
            assert!(
                file.lines()
                    .all(|line| line.trim_start().starts_with("--") || !line.contains("--"))
            );
        }
    }

    #[test]
    fn the_statements_of_the_files_come_in_an_order_that_works() {
        for embedding_dim in [1, 2000, 2001, 4000] {
            let statements = statements(&Target { embedding_dim, ..PLAIN }).unwrap();
            let objects: Vec<_> = statements.iter().map(|s| s.object).collect();
            assert!(objects.is_sorted_by_key(rank));
            let made: Vec<_> =
                objects.iter().filter(|o| !matches!(o, Object::Comment(_))).collect();
            let distinct: HashSet<_> = made.iter().map(|o| format!("{o:?}")).collect();
            assert_eq!(distinct.len(), made.len());
            for entity in &ENTITIES {
                assert!(objects.contains(&Object::Table(entity.table)), "{}", entity.table);
            }
            for object in &objects {
                if let Object::Constraint { table, .. } = *object {
                    assert!(objects.contains(&Object::Table(table)));
                }
                if let Object::Comment(on) = *object {
                    let commented = [Object::Table(on), Object::Sequence(on), Object::View(on)];
                    assert!(commented.iter().any(|o| objects.contains(o)));
                }
            }
            for sql in lines(&statements) {
                let placeholder = ["@schema@", "@extschema@", "@vector@", "@dim@"];
                assert!(!placeholder.iter().any(|p| sql.contains(p)), "{sql}");
            }
        }
    }

    proptest! {
        #![proptest_config(crate::property_tests())]

        #[test]
        fn a_quoted_name_is_read_back(name in "[^\0]{1,63}") {
            let quoted = quote_identifier(&name);
            let inner = quoted.strip_prefix('"').unwrap().strip_suffix('"').unwrap();
            prop_assert!(!inner.replace("\"\"", "").contains('"'));
            prop_assert_eq!(inner.replace("\"\"", "\""), name);
        }

        #[test]
        fn no_name_ends_the_literal_that_it_stands_in(schema in "[^\0]{0,12}|[$'name\"\\\\]{0,12}") {
            let target = Target { schema: &schema, ..PLAIN };
            let literal = substitute("'@schema@'", &target).unwrap();
            let inner = literal.strip_prefix('\'').unwrap().strip_suffix('\'').unwrap();
            prop_assert!(!inner.replace("''", "").contains('\''));
            prop_assert_eq!(inner.replace("''", "'"), quote_identifier(&schema));
            match substitute("$name$@schema@$name$", &target) {
                Ok(literal) => prop_assert_eq!(literal.matches("$name$").count(), 2),
                Err(_) => prop_assert!(schema.contains("$name$")),
            }
        }
    }
}
