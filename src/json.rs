//! Takes one level of a JSON text apart and leaves what is nested as text, so that numbers keep
//! all their digits on the way from one `jsonb` value to another.

use caliber_am::error::{CaliberError, CaliberResult};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt::Display;
use uuid::Uuid;

/// The text of one JSON value.
#[derive(Debug, Clone, Copy)]
pub struct Json<'a>(&'a str);

impl<'a> Json<'a> {
    /// JSON null.
    pub const NULL: Json<'static> = Json("null");

    /// The value with this text.
    pub fn new(text: &'a str) -> Self {
        Self(text.trim_ascii())
    }

    /// The value's text, without space around it.
    pub fn text(self) -> &'a str {
        self.0
    }

    /// What the value is, with its article.
    pub fn kind(self) -> &'static str {
        match self.0.as_bytes().first() {
            Some(b'n') => "null",
            Some(b't' | b'f') => "a boolean",
            Some(b'"') => "a string",
            Some(b'[') => "an array",
            Some(b'{') => "an object",
            _ => "a number",
        }
    }

    /// Whether it is JSON null.
    pub fn is_null(self) -> bool {
        self.0 == "null"
    }

    /// The elements of an array; `None` for any other value.
    pub fn elements(self) -> Option<Vec<Json<'a>>> {
        // The parser's refusal of another value takes longer than a look at it.
        let elements: Vec<&RawValue> =
            self.0.starts_with('[').then(|| serde_json::from_str(self.0).ok()).flatten()?;
        Some(elements.into_iter().map(|value| Json(value.get())).collect())
    }

    /// The members of an object by key; `None` for any other value.
    pub fn members(self) -> Option<BTreeMap<String, Json<'a>>> {
        let members: BTreeMap<String, &RawValue> =
            self.0.starts_with('{').then(|| serde_json::from_str(self.0).ok()).flatten()?;
        Some(members.into_iter().map(|(key, value)| (key, Json(value.get()))).collect())
    }

    /// The characters of a string that PostgreSQL can store as text.
    ///
    /// # Errors
    /// 22023 for another value and for a string with U+0000; `path` says where in `argument` the
    /// value stands.
    pub fn string(self, argument: &'static str, path: &dyn Display) -> CaliberResult<String> {
        match serde_json::from_str::<String>(self.0) {
            Ok(text) if !text.contains('\0') => Ok(text),
            Ok(_) => Err(CaliberError::argument(
                argument,
                format!("{path} has the character U+0000, which text cannot have."),
            )),
            Err(_) => Err(self.not(argument, path, "a string")),
        }
    }

    /// The refusal of this value where another kind of value is `wanted`: 22023.
    pub fn not(self, argument: &'static str, path: &dyn Display, wanted: &str) -> CaliberError {
        let found = self.kind();
        CaliberError::argument(argument, format!("{path} must be {wanted}, not {found}."))
    }
}

/// A text as a JSON string.
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The text of the object with these members; `None` without any.
pub fn object(members: &[(String, Json<'_>)]) -> Option<String> {
    let member = |(key, value): &(String, Json<'_>)| format!("{}:{}", quoted(key), value.text());
    let members: Vec<String> = members.iter().map(member).collect();
    (!members.is_empty()).then(|| format!("{{{}}}", members.join(",")))
}

/// The text of the object with these members, whose values are JSON texts.
pub fn object_text(members: &[(&str, String)]) -> String {
    let members: Vec<_> =
        members.iter().map(|(key, value)| format!("{}:{value}", quoted(key))).collect();
    format!("{{{}}}", members.join(","))
}

/// The text of a message's payload: what it is about by its id, and what there is to say.
pub fn payload((key, id): (&str, Uuid), about: &[(&str, String)]) -> String {
    let mut members = vec![(key, quoted(&id.to_string()))];
    members.extend(about.iter().cloned());
    object_text(&members)
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    /// JSON values of every kind, up to three levels deep.
    pub fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            "[\\[\\]{}:,\"\\\\ a]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::vec((any::<String>(), inner), 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    #[test]
    fn nested_text_stays_as_it_is() {
        let json = Json::new(r#" {"a" : 1234567890123456789012345.670 , "b\"": [1e400, "]"]} "#);
        let members = json.members().unwrap();
        let seen: Vec<_> = members.iter().map(|(key, value)| (&**key, value.text())).collect();
        let (number, array) = ("1234567890123456789012345.670", r#"[1e400, "]"]"#);
        assert_eq!(seen, [("a", number), ("b\"", array)]);
        let elements = members["b\""].elements().unwrap();
        assert_eq!(elements.iter().map(|e| e.text()).collect::<Vec<_>>(), ["1e400", r#""]""#]);
    }

    #[test]
    fn empty_arrays_and_objects_have_nothing_in_them() {
        assert!(Json::new("[ ]").elements().unwrap().is_empty());
        assert!(Json::new("{}").members().unwrap().is_empty());
    }

    proptest! {
        #![proptest_config(crate::property_tests())]

        #[test]
        fn values_are_taken_apart_as_a_parser_does(value in values(), pretty: bool) {
            let text = if pretty { format!("{value:#}") } else { value.to_string() };
            let json = Json::new(&text);
            let parse = |json: Json| serde_json::from_str::<Value>(json.text()).unwrap();
            let elements = json.elements().map(|e| e.into_iter().map(parse).collect::<Vec<_>>());
            prop_assert_eq!(elements.as_ref(), value.as_array());
            let members = json.members().map(|m| {
                m.into_iter().map(|(key, value)| (key, parse(value))).collect::<serde_json::Map<_, _>>()
            });
            prop_assert_eq!(members.as_ref(), value.as_object());
        }

        #[test]
        fn other_text_does_no_harm(text in "[\\[\\]{}:,\"\\\\ né0]{0,16}") {
            let json = Json::new(&text);
            let _ = (json.kind(), json.elements(), json.members(), json.string("x", &"x"));
        }
    }
}
