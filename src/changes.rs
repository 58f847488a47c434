//! The `changes` argument of the update functions: an object with a key for each column to set.

use crate::json::Json;
use caliber_am::error::{CaliberError, CaliberResult};
use caliber_am::model::{Change, ColumnType, Entity};
use std::fmt::Display;
use std::str::FromStr;
use uuid::Uuid;

/// The argument that errors name.
const ARGUMENT: &str = "changes";

/// One column to set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The column's position in the entity's definition.
    pub position: usize,
    /// Its new value.
    pub value: JsonScalar,
}

/// A column's new value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JsonScalar {
    /// SQL null: the value JSON null, for every type of column.
    Null,
    /// For a `text` column.
    Text(String),
    /// The text form of an enum label or a time, for the input function of the column's type.
    Input(String),
    /// For a `real` column, with its bits, so that two of them can be compared.
    Float4(u32),
    /// For a `text[]` column; null elements are allowed, as in SQL.
    TextArray(Vec<Option<String>>),
    /// For a `uuid[]` column.
    UuidArray(Vec<Uuid>),
    /// For an `integer` column.
    Int4(i32),
    /// For a `bigint` column.
    Int8(i64),
    /// For a `boolean` column.
    Bool(bool),
    /// For a `uuid` column.
    Uuid(Uuid),
    /// For a `jsonb` column: the value's JSON text.
    Jsonb(String),
}

/// Parses the text of a `jsonb` object of changes to columns of `updatable`, in its order. An
/// empty object changes nothing.
///
/// # Errors
/// 22023, with the key in DETAIL: no object, a key that is not in `updatable` or names a fixed
/// column, a value of the wrong JSON type or out of the column's range.
pub fn parse_changes(
    entity: &Entity,
    updatable: &[&str],
    json: &str,
) -> CaliberResult<Vec<Changed>> {
    let json = Json::new(json);
    let Some(members) = json.members() else {
        return Err(json.not(ARGUMENT, &ARGUMENT, "an object"));
    };
    let mut changes = Vec::with_capacity(members.len());
    for (key, value) in members {
        let key = &*key;
        let position = entity.column(key).filter(|&position| {
            updatable.contains(&key) && entity.columns[position].change != Change::Fixed
        });
        let position = position.ok_or_else(|| CaliberError::Argument {
            argument: ARGUMENT,
            reason: format!(
                "\"{key}\" is not a column of {} that can be changed here.",
                entity.name
            ),
            hint: Some(format!("The columns are {}.", updatable.join(", "))),
        })?;
        let value = scalar(entity.columns[position].ty, key, value)?;
        changes.push(Changed { position, value });
    }
    Ok(changes)
}

fn scalar(ty: ColumnType, key: &str, json: Json) -> CaliberResult<JsonScalar> {
    if json.is_null() {
        return Ok(JsonScalar::Null);
    }
    let path = format_args!("\"{key}\"");
    match ty {
        ColumnType::Text => json.string(ARGUMENT, &path).map(JsonScalar::Text),
        ColumnType::Enum(_) | ColumnType::Timestamptz => {
            json.string(ARGUMENT, &path).map(JsonScalar::Input)
        }
        ColumnType::Int4 => whole(json, key, "integer").map(JsonScalar::Int4),
        ColumnType::Int8 => whole(json, key, "bigint").map(JsonScalar::Int8),
        ColumnType::Bool => match json.text().parse() {
            Ok(truth) => Ok(JsonScalar::Bool(truth)),
            Err(_) => Err(json.not(ARGUMENT, &path, "a boolean")),
        },
        ColumnType::Float4 => match json.text().parse::<f32>() {
            Ok(number) if number.is_finite() => Ok(JsonScalar::Float4(number.to_bits())),
            _ => Err(json.not(ARGUMENT, &path, "a number that real can hold")),
        },
        ColumnType::Uuid | ColumnType::Key => uuid(json, &path).map(JsonScalar::Uuid),
        ColumnType::UuidArray => {
            elements(json, &path, |json| uuid(json, &path)).map(JsonScalar::UuidArray)
        }
        ColumnType::TextArray => elements(json, &path, |json| match json.is_null() {
            true => Ok(None),
            false => json.string(ARGUMENT, &path).map(Some),
        })
        .map(JsonScalar::TextArray),
        ColumnType::Jsonb => Ok(JsonScalar::Jsonb(json.text().to_owned())),
        ColumnType::Bytea | ColumnType::Vector => {
            Err(CaliberError::argument(ARGUMENT, format!("{path} cannot be given as JSON.")))
        }
    }
}

fn uuid(json: Json, path: &dyn Display) -> CaliberResult<Uuid> {
    json.string(ARGUMENT, path)?.parse().map_err(|_| {
        CaliberError::argument(ARGUMENT, format!("{path} must be a UUID, not {}.", json.text()))
    })
}

fn elements<T>(
    json: Json,
    path: &dyn Display,
    read: impl Fn(Json) -> CaliberResult<T>,
) -> CaliberResult<Vec<T>> {
    let elements = json.elements().ok_or_else(|| json.not(ARGUMENT, path, "an array"))?;
    elements.into_iter().map(read).collect()
}

/// A number that PostgreSQL's `integer` or `bigint` can hold, written without fraction or
/// exponent.
fn whole<T: FromStr>(json: Json, key: &str, ty: &str) -> CaliberResult<T> {
    json.text().parse().map_err(|_| {
        let number = json.kind() == "a number";
        let found = if number { json.text() } else { json.kind() };
        let reason = format!("\"{key}\" must be a whole number that {ty} can hold, not {found}.");
        CaliberError::argument(ARGUMENT, reason)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::entity::{ENTITIES, SCOPE, TRAJECTORY};
    use crate::json::tests::values;
    use proptest::prelude::*;
    use proptest::sample::{select, subsequence};
    use serde_json::{Value, json};

    fn set(
        entity: &'static Entity,
        updatable: &[&str],
        changes: Value,
    ) -> Vec<(&'static str, JsonScalar)> {
        let changes = parse_changes(entity, updatable, &changes.to_string()).unwrap();
        changes.into_iter().map(|c| (entity.columns[c.position].name, c.value)).collect()
    }

    fn refusal(entity: &Entity, updatable: &[&str], changes: &str) -> (String, Option<String>) {
        let error = parse_changes(entity, updatable, changes).unwrap_err();
        assert_eq!(error.sqlstate(), "22023");
        assert_eq!(error.to_string(), "invalid value for argument \"changes\"");
        (error.detail().unwrap(), error.hint())
    }

    #[test]
    fn values_take_the_columns_types() {
        use JsonScalar::*;
        let agent = "01890a5d-ac96-774b-bcce-b302099a8057";
        assert_eq!(
            set(
                TRAJECTORY,
                &["name", "description", "agent_id", "outcome", "status", "fence"],
                json!({"name": "héllo", "description": null, "agent_id": agent,
                       "outcome": {"a": [1]}, "status": "active", "fence": i64::MAX}),
            ),
            [
                ("agent_id", Uuid(agent.parse().unwrap())),
                ("description", Null),
                ("fence", Int8(i64::MAX)),
                ("name", Text("héllo".into())),
                ("outcome", Jsonb(r#"{"a":[1]}"#.into())),
                ("status", Input("active".into())),
            ]
        );
        assert_eq!(
            set(
                SCOPE,
                &["token_budget", "is_active", "closed_at", "checkpoint"],
                json!({"token_budget": -5, "is_active": false, "closed_at": "now",
                       "checkpoint": "text"}),
            ),
            [
                ("checkpoint", Jsonb("\"text\"".into())),
                ("closed_at", Input("now".into())),
                ("is_active", Bool(false)),
                ("token_budget", Int4(-5)),
            ]
        );
    }

    #[test]
    fn an_empty_object_changes_nothing() {
        assert_eq!(parse_changes(SCOPE, &["name"], "{}"), Ok(vec![]));
    }

    #[test]
    fn json_keeps_its_digits() {
        let changes = r#"{"metadata": {"n": 12345678901234567890.10}}"#;
        let parsed = parse_changes(SCOPE, &["metadata"], changes).unwrap().remove(0).value;
        assert_eq!(parsed, JsonScalar::Jsonb(r#"{"n": 12345678901234567890.10}"#.into()));
    }

    #[test]
    fn other_keys_are_refused_with_the_columns_that_there_are() {
        let updatable = &["name", "purpose", "created_at"];
        for key in ["nope", "is_active", "scope_id", "created_at", "", "Name"] {
            let changes = json!({"name": "x", key: "y"}).to_string();
            let (detail, hint) = refusal(SCOPE, updatable, &changes);
            let expected = format!("\"{key}\" is not a column of scope that can be changed here.");
            assert_eq!(detail, expected);
            assert_eq!(hint.unwrap(), "The columns are name, purpose, created_at.");
        }
    }

    #[test]
    fn values_of_the_wrong_type_are_refused() {
        let integer = "must be a whole number that integer can hold, not";
        let cases = [
            ("[]", "changes must be an object, not an array.".to_owned()),
            ("null", "changes must be an object, not null.".to_owned()),
            (r#"{"name": 1}"#, "\"name\" must be a string, not a number.".to_owned()),
            (r#"{"name": {}}"#, "\"name\" must be a string, not an object.".to_owned()),
            (
                r#"{"name": "a\u0000"}"#,
                "\"name\" has the character U+0000, which text cannot have.".to_owned(),
            ),
            (r#"{"token_budget": 1.0}"#, format!("\"token_budget\" {integer} 1.0.")),
            (r#"{"token_budget": 1e3}"#, format!("\"token_budget\" {integer} 1e3.")),
            (r#"{"token_budget": 2147483648}"#, format!("\"token_budget\" {integer} 2147483648.")),
            (r#"{"token_budget": "1"}"#, format!("\"token_budget\" {integer} a string.")),
            (
                r#"{"is_active": "true"}"#,
                "\"is_active\" must be a boolean, not a string.".to_owned(),
            ),
            (
                r#"{"fence": 9223372036854775808}"#,
                "\"fence\" must be a whole number that bigint can hold, not 9223372036854775808."
                    .to_owned(),
            ),
        ];
        for (changes, detail) in cases {
            let updatable = &["name", "token_budget", "is_active", "fence"];
            assert_eq!(refusal(SCOPE, updatable, changes).0, detail);
        }
        let agent = refusal(TRAJECTORY, &["agent_id"], r#"{"agent_id": "x"}"#).0;
        assert_eq!(agent, "\"agent_id\" must be a UUID, not \"x\".");
    }

    proptest! {
        #![proptest_config(crate::property_tests())]

        #[test]
        fn any_object_is_parsed_or_refused(
            (entity, keys) in select(ENTITIES.iter().collect::<Vec<_>>()).prop_flat_map(|e| {
                let names: Vec<_> = e.columns.iter().map(|c| c.name).collect();
                (Just(e), subsequence(names, 0..4))
            }),
            values in proptest::collection::vec(values(), 4),
        ) {
            let changes: Value = keys.iter().copied().zip(values).collect();
            match parse_changes(entity, &keys, &changes.to_string()) {
                Ok(parsed) => {
                    for c in &parsed {
                        let column = entity.columns[c.position];
                        prop_assert!(column.change != Change::Fixed);
                        let null = changes[column.name].is_null();
                        prop_assert_eq!(c.value == JsonScalar::Null, null);
                    }
                    prop_assert_eq!(parsed.len(), keys.len());
                }
                Err(error) => prop_assert_eq!(error.sqlstate(), "22023"),
            }
        }
    }
}
