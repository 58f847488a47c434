//! Messages in the OpenAI chat format, as the turns that they become.

use crate::json::{Json, object};
use caliber_am::error::{CaliberError, CaliberResult};

/// The argument that errors name.
const ARGUMENT: &str = "messages";

/// Who speaks; the labels of the type `caliber_turn_role`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The instructions; `developer` in newer messages.
    System,
    /// The user.
    User,
    /// The model.
    Assistant,
    /// The answer of a tool.
    Tool,
}

impl Role {
    /// The label in the type `caliber_turn_role`.
    pub const fn label(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        }
    }

    fn from_message(role: &str) -> Option<Self> {
        match role {
            "system" | "developer" => Some(Role::System),
            "user" => Some(Role::User),
            "assistant" => Some(Role::Assistant),
            "tool" => Some(Role::Tool),
            _ => None,
        }
    }
}

/// One message: what a turn stores of it. The optional fields are JSON text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// The text; of content in parts, the texts of the text parts, one a line.
    pub content: String,
    /// The array `tool_calls`.
    pub tool_calls: Option<String>,
    /// An object with `tool_call_id` and `name`, as far as the message has them.
    pub tool_results: Option<String>,
    /// An object with every other key of the message, and with `content` if it is in parts.
    pub metadata: Option<String>,
}

/// Parses the text of a `jsonb` array of messages.
///
/// `content` may be null or missing, which is the empty text. Null stands for a missing value in
/// `tool_calls`, `tool_call_id` and `name` too.
///
/// # Errors
/// 22023, with a path such as `messages[0].role` in DETAIL: no array, an element that is no
/// object, no role or an unknown one, a value of the wrong type, text with U+0000.
pub fn parse_messages(json: &str) -> CaliberResult<Vec<Message>> {
    let json = Json::new(json);
    let Some(messages) = json.elements() else {
        return Err(json.not(ARGUMENT, &ARGUMENT, "an array"));
    };
    messages.into_iter().enumerate().map(|(i, json)| message(i, json)).collect()
}

fn message(index: usize, json: Json) -> CaliberResult<Message> {
    let Some(members) = json.members() else {
        return Err(json.not(ARGUMENT, &format_args!("messages[{index}]"), "an object"));
    };
    let (mut spoken_by, mut content, mut tool_calls) = (None, String::new(), None);
    let (mut tool_results, mut metadata) = (Vec::new(), Vec::new());
    for (key, value) in members {
        match &*key {
            "role" => spoken_by = Some(role(index, value)?),
            "content" | "tool_calls" | "tool_call_id" | "name" if value.is_null() => {}
            "content" => match value.elements() {
                Some(parts) => {
                    content = joined(index, parts)?;
                    metadata.push((key, value));
                }
                None => content = text_at(index, &key, value)?,
            },
            "tool_calls" if value.elements().is_some() => tool_calls = Some(value.text().into()),
            "tool_calls" => {
                let path = format!("messages[{index}].tool_calls");
                return Err(value.not(ARGUMENT, &path, "an array"));
            }
            "tool_call_id" | "name" => {
                text_at(index, &key, value)?;
                tool_results.push((key, value));
            }
            _ => metadata.push((key, value)),
        }
    }
    let Some(role) = spoken_by else {
        return Err(CaliberError::argument(ARGUMENT, format!("messages[{index}] has no role.")));
    };
    let (tool_results, metadata) = (object(&tool_results), object(&metadata));
    Ok(Message { role, content, tool_calls, tool_results, metadata })
}

fn role(index: usize, value: Json) -> CaliberResult<Role> {
    let label = value.string(ARGUMENT, &format_args!("messages[{index}].role"))?;
    Role::from_message(&label).ok_or_else(|| CaliberError::Argument {
        argument: ARGUMENT,
        reason: format!("messages[{index}].role is \"{label}\"."),
        hint: Some("The roles are system, developer, user, assistant and tool.".to_owned()),
    })
}

fn text_at(index: usize, key: &str, value: Json) -> CaliberResult<String> {
    value.string(ARGUMENT, &format_args!("messages[{index}].{key}"))
}

/// The texts of the text parts, one a line. Parts of other types have none.
fn joined(index: usize, parts: Vec<Json>) -> CaliberResult<String> {
    let mut texts = Vec::new();
    for (part, json) in parts.into_iter().enumerate() {
        let path = |key| format!("messages[{index}].content[{part}]{key}");
        let Some(members) = json.members() else {
            return Err(json.not(ARGUMENT, &path(""), "an object"));
        };
        let value = |key: &str| members.get(key).copied().unwrap_or(Json::NULL);
        let kind = value("type").string(ARGUMENT, &path(".type"))?;
        if ["text", "input_text", "output_text"].contains(&&*kind) {
            texts.push(value("text").string(ARGUMENT, &path(".text"))?);
        }
    }
    Ok(texts.join("\n"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;
    use proptest::{collection::vec, option, sample::select};
    use serde_json::{Map, Value, json};

    fn one(message: Value) -> Message {
        parse_messages(&json!([message]).to_string()).unwrap().remove(0)
    }

    fn refusal(messages: Value) -> String {
        let error = parse_messages(&messages.to_string()).unwrap_err();
        assert_eq!(error.sqlstate(), "22023");
        assert_eq!(error.to_string(), "invalid value for argument \"messages\"");
        error.detail().unwrap()
    }

    fn parsed(json: &Option<String>) -> Value {
        json.as_ref().map_or(Value::Null, |json| serde_json::from_str(json).unwrap())
    }

    #[test]
    fn a_plain_conversation_keeps_its_order() {
        let turns = parse_messages(
            r#"[{"role": "developer", "content": "Be brief."},
                {"role": "user", "content": "Grüße, 世界"},
                {"role": "assistant", "content": null},
                {"role": "tool"}]"#,
        );
        let seen: Vec<_> =
            turns.unwrap().into_iter().map(|m| (m.role.label(), m.content, m.metadata)).collect();
        let turn = |role, content: &str| (role, content.to_owned(), None);
        assert_eq!(
            seen,
            [
                turn("system", "Be brief."),
                turn("user", "Grüße, 世界"),
                turn("assistant", ""),
                turn("tool", "")
            ]
        );
        assert_eq!(parse_messages("[]"), Ok(vec![]));
    }

    #[test]
    fn tool_calls_and_their_answers_are_kept() {
        let calls = json!([{"id": "c1", "type": "function", "function": {"name": "f"}}]);
        let call = one(json!({"role": "assistant", "content": null, "tool_calls": calls}));
        assert_eq!(parsed(&call.tool_calls), calls);
        assert_eq!((call.tool_results, call.metadata), (None, None));
        let answer =
            one(json!({"role": "tool", "tool_call_id": "c1", "name": "f", "content": "42"}));
        assert_eq!(parsed(&answer.tool_results), json!({"tool_call_id": "c1", "name": "f"}));
        assert_eq!((answer.tool_calls, answer.metadata), (None, None));
        let nulls =
            one(json!({"role": "user", "tool_calls": null, "tool_call_id": null, "name": null}));
        assert_eq!((nulls.tool_calls, nulls.tool_results, nulls.metadata), (None, None, None));
    }

    #[test]
    fn content_in_parts_is_joined_by_lines_and_kept() {
        let parts = json!([
            {"type": "text", "text": "one"},
            {"type": "image_url", "image_url": {"url": "data:"}},
            {"type": "input_text", "text": "two"},
            {"type": "output_text", "text": "three"}
        ]);
        let message = one(json!({"role": "user", "content": parts}));
        assert_eq!(message.content, "one\ntwo\nthree");
        assert_eq!(parsed(&message.metadata), json!({"content": parts}));
        assert_eq!(one(json!({"role": "user", "content": []})).content, "");
    }

    #[test]
    fn unknown_keys_go_into_metadata_digit_by_digit() {
        let message = r#"[{"role": "assistant", "refusal": "No.", "seed": 12345678901234567890123.0,
            "metadata": {"a": 1}, "audio": null}]"#;
        let metadata = parse_messages(message).unwrap().remove(0).metadata.unwrap();
        assert!(metadata.contains("12345678901234567890123.0"));
        let value: Value = serde_json::from_str(&metadata).unwrap();
        assert_eq!(value["refusal"], "No.");
        assert_eq!(value["metadata"], json!({"a": 1}));
        assert_eq!(value.as_object().unwrap().len(), 4);
    }

    #[test]
    fn refusals_say_where() {
        let user = json!({"role": "user"});
        let content = |content| json!([{"role": "user", "content": content}]);
        let cases = [
            (user.clone(), "messages must be an array, not an object."),
            (json!("x"), "messages must be an array, not a string."),
            (json!([user, 1]), "messages[1] must be an object, not a number."),
            (json!([user, user, {"content": "x"}]), "messages[2] has no role."),
            (json!([{"role": null}]), "messages[0].role must be a string, not null."),
            (json!([{"role": "function"}]), "messages[0].role is \"function\"."),
            (json!([{"role": "User"}]), "messages[0].role is \"User\"."),
            (content(json!({})), "messages[0].content must be a string, not an object."),
            (content(json!(true)), "messages[0].content must be a string, not a boolean."),
            (
                content(json!("a\0b")),
                "messages[0].content has the character U+0000, which text cannot have.",
            ),
            (content(json!(["x"])), "messages[0].content[0] must be an object, not a string."),
            (content(json!([{}])), "messages[0].content[0].type must be a string, not null."),
            (
                content(json!([{"type": "text", "text": "x"}, {"type": "text"}])),
                "messages[0].content[1].text must be a string, not null.",
            ),
            (
                json!([{"role": "assistant", "tool_calls": {}}]),
                "messages[0].tool_calls must be an array, not an object.",
            ),
            (
                json!([{"role": "tool", "tool_call_id": 7}]),
                "messages[0].tool_call_id must be a string, not a number.",
            ),
            (
                json!([{"role": "user", "name": []}]),
                "messages[0].name must be a string, not an array.",
            ),
        ];
        for (messages, detail) in cases {
            assert_eq!(refusal(messages), detail);
        }
    }

    fn text() -> impl Strategy<Value = String> {
        any::<String>().prop_map(|text| text.replace('\0', ""))
    }

    fn near_messages() -> impl Strategy<Value = Value> {
        let keys = select(vec!["role", "content", "tool_calls", "name", "tool_call_id", "type"]);
        let words = select(vec![json!("user"), json!("tool"), json!("text"), json!("a\0")]);
        let value = prop_oneof![words, crate::json::tests::values()];
        let message = vec((keys.prop_map(str::to_owned), value), 0..5)
            .prop_map(|members| Value::Object(members.into_iter().collect()));
        prop_oneof![vec(message, 0..3).prop_map(Value::from), crate::json::tests::values()]
    }

    proptest! {
        #![proptest_config(crate::property_tests())]

        #[test]
        fn any_json_is_parsed_or_refused(value in near_messages()) {
            match parse_messages(&value.to_string()) {
                Ok(messages) => prop_assert_eq!(messages.len(), value.as_array().unwrap().len()),
                Err(error) => prop_assert_eq!(error.sqlstate(), "22023"),
            }
        }

        #[test]
        fn messages_come_back_as_they_were(
            messages in vec(
                (
                    select(vec!["system", "user", "assistant", "tool"]),
                    option::of(text()),
                    option::of(vec(crate::json::tests::values(), 0..3)),
                    option::of(text()),
                    option::of(("x[a-z]{0,3}", crate::json::tests::values())),
                ),
                0..5,
            ),
        ) {
            let written: Vec<Value> = messages
                .iter()
                .map(|(role, content, calls, id, other)| {
                    let mut message = Map::new();
                    message.insert("role".into(), json!(role));
                    let mut set = |key: &str, value: Option<Value>| {
                        value.map(|value| message.insert(key.to_owned(), value));
                    };
                    set("content", content.as_ref().map(|c| json!(c)));
                    set("tool_calls", calls.as_ref().map(|c| json!(c)));
                    set("tool_call_id", id.as_ref().map(|i| json!(i)));
                    if let Some((key, value)) = other {
                        set(key, Some(value.clone()));
                    }
                    Value::Object(message)
                })
                .collect();
            let read = parse_messages(&json!(written).to_string()).unwrap();
            prop_assert_eq!(read.len(), messages.len());
            for (read, (role, content, calls, id, other)) in read.iter().zip(&messages) {
                prop_assert_eq!(read.role.label(), *role);
                prop_assert_eq!(&read.content, content.as_deref().unwrap_or(""));
                prop_assert_eq!(parsed(&read.tool_calls), json!(calls));
                let results = id.as_ref().map(|id| json!({"tool_call_id": id}));
                prop_assert_eq!(parsed(&read.tool_results), json!(results));
                let metadata = other.as_ref().map(|(key, value)| json!({ key.as_str(): value }));
                prop_assert_eq!(parsed(&read.metadata), json!(metadata));
            }
        }
    }
}
