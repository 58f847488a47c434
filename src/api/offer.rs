//! What delegations and handoffs share: work that is offered to one agent or to a type of agents,
//! until exactly one agent takes it.

use super::agent::{known_type_of, type_of};
use super::send::Receiver;
use super::{list, may_open, open};
use crate::entity::{AGENT, DELEGATION, HANDOFF, delegation, handoff};
use caliber_am::error::{CaliberError, CaliberResult};
use caliber_am::fmgr::{Call, SetDone, Text};
use caliber_am::model::{Entity, Path};
use caliber_am::pg::snapshot::ActiveSnapshot;
use caliber_am::pg::value::Value;
use caliber_am::table::Access;
use caliber_am::table::lookup::equal;
use caliber_am::table::row::Row;
use caliber_am::table::writer::Given;
use uuid::Uuid;

/// The type that stands for any.
pub const ANY: &str = "*";

/// An entity whose rows are offers: where its columns are.
pub struct Offer {
    /// The entity.
    pub entity: &'static Entity,
    /// The agent that it is offered to, or that took it.
    pub to_agent: usize,
    /// The type of agents that it is offered to.
    pub to_type: usize,
    /// The name of the argument with that type.
    type_argument: &'static str,
    /// `status`
    pub status: usize,
    /// The state in which it can be taken.
    pub open: &'static str,
    by_agent: Path,
    by_type: Path,
    /// Whether it can be offered to [`ANY`] type.
    to_any: bool,
}

/// Delegations.
pub static DELEGATIONS: Offer = Offer {
    entity: DELEGATION,
    to_agent: delegation::column::DELEGATEE_AGENT_ID,
    to_type: delegation::column::DELEGATEE_AGENT_TYPE,
    type_argument: "delegatee_agent_type",
    status: delegation::column::STATUS,
    open: "pending",
    by_agent: delegation::path::TO_AGENT,
    by_type: delegation::path::TO_TYPE,
    to_any: true,
};

/// Handoffs.
pub static HANDOFFS: Offer = Offer {
    entity: HANDOFF,
    to_agent: handoff::column::TO_AGENT_ID,
    to_type: handoff::column::TO_AGENT_TYPE,
    type_argument: "to_agent_type",
    status: handoff::column::STATUS,
    open: "initiated",
    by_agent: handoff::path::TO_AGENT,
    by_type: handoff::path::TO_TYPE,
    to_any: false,
};

impl Offer {
    /// Who a new offer is for: an agent or a type, exactly one of them.
    ///
    /// # Errors
    /// 22023
    pub fn receiver(
        &self,
        given: &mut Given<'_>,
        agent: Option<Uuid>,
        agent_type: Option<Text>,
    ) -> CaliberResult<Receiver> {
        match (agent, agent_type) {
            (Some(agent), None) => {
                given.set(self.to_agent, Value::uuid(agent));
                Ok(Receiver::Agent(agent))
            }
            (None, Some(agent_type)) => {
                given.set(self.to_type, Value::text(&agent_type.0)?);
                let any = self.to_any && agent_type.0 == ANY;
                Ok(if any { Receiver::Everybody } else { Receiver::Type(agent_type.0) })
            }
            _ => {
                let agent = self.entity.columns[self.to_agent].name;
                let reason = format!("Give either {agent} or {}.", self.type_argument);
                Err(CaliberError::argument(self.type_argument, reason))
            }
        }
    }

    /// Refuses an agent that an open offer is not addressed to.
    ///
    /// # Errors
    /// 55000; P0002 for an unknown agent.
    pub fn check_addressed(&self, row: &Row<'_>, id: Uuid, agent: Uuid) -> CaliberResult<()> {
        let own_type = known_type_of(agent)?;
        let to_agent = row.get(self.to_agent).as_uuid();
        let to_type = row.get(self.to_type).as_text();
        let addressed = to_agent == Some(agent)
            || to_agent.is_none()
                && to_type.is_some_and(|t| t == own_type || self.to_any && t == ANY);
        if addressed {
            return Ok(());
        }
        let needed = "an agent that it is addressed to";
        Err(CaliberError::NotAddressed { entity: self.entity.name, id, agent, needed })
    }

    /// Refuses an agent that did not take the offer.
    ///
    /// # Errors
    /// 55000
    pub fn check_taken_by(&self, row: &Row<'_>, id: Uuid, agent: Uuid) -> CaliberResult<()> {
        if row.get(self.to_agent).as_uuid() == Some(agent) {
            return Ok(());
        }
        let needed = "the agent that accepted it";
        Err(CaliberError::NotAddressed { entity: self.entity.name, id, agent, needed })
    }

    /// `caliber_<entity>_list_pending`
    ///
    /// # Errors
    /// 22023 when neither an agent nor a type is given.
    pub fn list_pending(
        &self,
        call: &Call<'_>,
        agent: Option<Uuid>,
        agent_type: Option<Text>,
        max_rows: Option<i32>,
        after: Option<Uuid>,
    ) -> CaliberResult<SetDone> {
        let limit = list::row_limit(max_rows)?;
        if agent.is_none() && agent_type.is_none() {
            let reason = "Give agent_id, agent_type or both.";
            return Err(CaliberError::argument("agent_id", reason));
        }
        if agent_type.is_none() {
            may_open(&[(self.entity, Access::READ), (AGENT, Access::READ)])?;
        }
        let table = open(self.entity, Access::READ)?;
        let agent_type = match (agent_type, agent) {
            (Some(agent_type), _) => Some(agent_type.0),
            (None, Some(agent)) => type_of(agent, &ActiveSnapshot::of_statement())?,
            (None, None) => None,
        };
        let pending = table.enum_value(self.status, self.open)?;
        let mut look_ups = Vec::new();
        if let Some(agent) = agent {
            look_ups.push((self.by_agent, vec![equal(Value::uuid(agent)), equal(pending)]));
        }
        let any = self.to_any.then(|| ANY.to_owned());
        let mut types: Vec<String> = agent_type.into_iter().chain(any).collect();
        types.dedup();
        for agent_type in types {
            let conditions = vec![equal(pending), equal(Value::text(&agent_type)?)];
            look_ups.push((self.by_type, conditions));
        }
        // What names both an agent and a type is for the agent alone, as when it is accepted.
        list::merged(call, &table, &look_ups, limit, after, |slot| {
            let to_agent = slot.get(table.attno(self.to_agent)).as_uuid();
            to_agent.is_none() || to_agent == agent
        })
    }
}
