//! One agent run, as a line of JSON.

use anyhow::{Result, anyhow, bail};
use serde::Deserialize;
use serde_json::Number;
use serde_json::value::RawValue;

/// `{"id": "...", "task": "...", "reward": 1.0, "messages": [...]}`; other keys do no harm.
#[derive(Debug, Deserialize)]
pub struct Run {
    /// Its name.
    pub id: String,
    /// What the agent was to do.
    pub task: Option<String>,
    /// How well it did: more than 0 is success.
    pub reward: Option<Number>,
    /// The messages in the OpenAI chat format, as they were written: numbers keep their digits.
    pub messages: Box<RawValue>,
}

impl Run {
    /// Reads a line. What the messages hold is for the server to judge.
    pub fn parse(line: &[u8]) -> Result<Self> {
        let line = line.trim_ascii();
        let line = std::str::from_utf8(line)
            .map_err(|e| anyhow!("not UTF-8 from byte {} on", e.valid_up_to() + 1))?;
        let run: Self = serde_json::from_str(line).map_err(|e| {
            let kind = if e.is_data() { "not an agent run" } else { "not JSON" };
            // The error speaks of line 1 of what it was given, which is not the file's.
            let text = e.to_string();
            let reason = text.split(" at line ").next().unwrap_or_default();
            anyhow!("{kind}: {reason} at column {}", e.column())
        })?;
        if run.id.trim().is_empty() {
            bail!("not an agent run: the id is empty");
        }
        if !run.messages.get().starts_with('[') {
            bail!("not an agent run: messages is not an array");
        }
        Ok(run)
    }

    /// Whether the run did what it should; nothing when nobody said.
    pub fn succeeded(&self) -> Option<bool> {
        self.reward.as_ref().and_then(Number::as_f64).map(|reward| reward > 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(line: &str) -> String {
        Run::parse(line.as_bytes()).map_or_else(|e| e.to_string(), |run| format!("{run:?}"))
    }

    #[test]
    fn a_run() -> Result<()> {
        let run = Run::parse(
            b"{\"id\": \"a\", \"task\": \"b\", \"reward\": 0.5, \"x\": 1, \"messages\": [{\"n\": 12345678901234567890123}]}\r\n",
        )?;
        assert_eq!((run.id.as_str(), run.task.as_deref()), ("a", Some("b")));
        assert_eq!(run.messages.get(), "[{\"n\": 12345678901234567890123}]");
        assert_eq!(run.succeeded(), Some(true));
        Ok(())
    }

    #[test]
    fn task_and_reward_may_be_missing() -> Result<()> {
        let run = Run::parse(br#"{"id": "a", "messages": []}"#)?;
        assert_eq!((run.task.as_deref(), run.succeeded()), (None, None));
        let run = Run::parse(br#"{"id": "a", "reward": 0, "messages": []}"#)?;
        assert_eq!(run.succeeded(), Some(false));
        Ok(())
    }

    #[test]
    fn broken_lines_say_why() {
        assert_eq!(reason("{\"id\": "), "not JSON: EOF while parsing a value at column 6");
        assert_eq!(reason("hello"), "not JSON: expected value at column 1");
        assert!(reason(r#"{"id": "a"}"#).contains("missing field `messages`"));
        assert!(reason(r#"{"messages": []}"#).contains("missing field `id`"));
        assert!(reason(r#"{"id": 7, "messages": []}"#).contains("expected a string"));
        assert!(reason(r#"{"id": " ", "messages": []}"#).contains("the id is empty"));
        assert!(reason(r#"{"id": "a", "messages": {}}"#).contains("messages is not an array"));
        assert!(reason(r#"{"id": "a", "messages": null}"#).contains("messages is not an array"));
        assert!(reason(r#"{"id": "a", "reward": "x", "messages": []}"#).contains("expected"));
        assert!(reason("[1, 2]").starts_with("not an agent run"));
        let error = Run::parse(b"{\"id\": \"\xff\"}");
        assert!(error.is_err_and(|e| e.to_string() == "not UTF-8 from byte 9 on"));
    }
}
