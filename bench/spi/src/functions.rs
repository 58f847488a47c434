//! The functions; `xtask/src/bench/sql/spi.sql` declares them.

use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use pgrx::{JsonB, Uuid};

pgrx::pg_module_magic!();

/// A row of a table, copied.
type Row = PgHeapTuple<'static, AllocatedByRust>;

/// The first column of the statement's first row.
fn one<T: FromDatum + IntoDatum>(sql: &str, args: &[DatumWithOid<'_>]) -> spi::Result<Option<T>> {
    Spi::connect_mut(|client| {
        let rows = client.update(sql, Some(1), args)?;
        if rows.is_empty() { Ok(None) } else { rows.first().get(1) }
    })
}

/// The first column of all its rows.
fn all<T: FromDatum + IntoDatum>(sql: &str, args: &[DatumWithOid<'_>]) -> spi::Result<Vec<T>> {
    Spi::connect_mut(|client| {
        let mut values = Vec::new();
        for row in client.update(sql, None, args)? {
            values.extend(row.get(1)?);
        }
        Ok(values)
    })
}

#[pg_extern(stable)]
fn spi_turn_get(id: Uuid) -> spi::Result<Option<Row>> {
    one("SELECT t FROM peer.caliber_turn t WHERE t.turn_id = $1", &[id.into()])
}

#[pg_extern(stable)]
fn spi_turn_list(scope_id: Uuid) -> spi::Result<SetOfIterator<'static, Row>> {
    let turns: Vec<Row> = all(
        "SELECT t FROM peer.caliber_turn t WHERE t.scope_id = $1 AND t.sequence > -1
         ORDER BY t.sequence LIMIT 100",
        &[scope_id.into()],
    )?;
    Ok(SetOfIterator::new(turns))
}

#[pg_extern]
fn spi_turn_create(
    scope_id: Uuid,
    role: &str,
    content: &str,
    tokens: i32,
) -> spi::Result<Option<Uuid>> {
    let sequence: Option<i32> = one(
        "UPDATE peer.caliber_scope
         SET tokens_used = tokens_used + $2, turn_count = turn_count + 1
         WHERE scope_id = $1 AND is_active AND tokens_used + $2 <= token_budget
         RETURNING turn_count - 1",
        &[scope_id.into(), tokens.into()],
    )?;
    let Some(sequence) = sequence else {
        error!("scope {scope_id} is unknown, closed or full");
    };
    one(
        "INSERT INTO peer.caliber_turn (scope_id, sequence, role, content, token_count)
         VALUES ($1, $2, $3::text::caliber_turn_role, $4, $5)
         RETURNING turn_id",
        &[scope_id.into(), sequence.into(), role.into(), content.into(), tokens.into()],
    )
}

/// Loops over the messages, as a program does that has SQL for one of them.
#[pg_extern]
fn spi_turn_append_many(
    scope_id: Uuid,
    messages: JsonB,
) -> spi::Result<SetOfIterator<'static, Uuid>> {
    let messages = messages.0.as_array().cloned().unwrap_or_default();
    let mut ids = Vec::with_capacity(messages.len());
    for message in &messages {
        let text =
            |key: &str| message.get(key).and_then(|value| value.as_str()).unwrap_or_default();
        let content = text("content");
        let tokens = i32::try_from(content.len().div_ceil(4)).unwrap_or(i32::MAX);
        ids.extend(spi_turn_create(scope_id, text("role"), content, tokens)?);
    }
    Ok(SetOfIterator::new(ids))
}

#[pg_extern]
fn spi_set_status(id: Uuid, status: &str) -> spi::Result<Option<Row>> {
    one(
        "UPDATE peer.caliber_trajectory t
         SET status = $2::text::caliber_trajectory_status,
             completed_at = CASE WHEN $2::text IN ('completed', 'failed') THEN now() END,
             updated_at = now(), version = version + 1
         WHERE trajectory_id = $1 AND status IN ('active', 'suspended')
         RETURNING t",
        &[id.into(), status.into()],
    )
}

#[pg_extern]
fn spi_heartbeat(id: Uuid) -> spi::Result<Option<TimestampWithTimeZone>> {
    one(
        "UPDATE peer.caliber_agent SET last_heartbeat = clock_timestamp() WHERE agent_id = $1
         RETURNING last_heartbeat",
        &[id.into()],
    )
}

#[pg_extern]
fn spi_lock_acquire(
    agent: Uuid,
    kind: &str,
    resource: Uuid,
    ttl: Interval,
) -> spi::Result<Option<Row>> {
    let free: Option<bool> = one(
        "SELECT pg_try_advisory_xact_lock(hashtextextended($1 || $2::text, 0))",
        &[kind.into(), resource.into()],
    )?;
    let busy: Option<bool> = one(
        "SELECT EXISTS (
             SELECT FROM peer.caliber_lock
             WHERE resource_type = $1 AND resource_id = $2 AND holder_agent_id <> $3
               AND expires_at > clock_timestamp())",
        &[kind.into(), resource.into(), agent.into()],
    )?;
    if free != Some(true) || busy != Some(false) {
        return Ok(None);
    }
    let renewed: Option<Row> = one(
        "UPDATE peer.caliber_lock l
         SET fence = nextval('peer.caliber_fence'), acquired_at = clock_timestamp(),
             expires_at = clock_timestamp() + $4, updated_at = now(), version = version + 1
         WHERE resource_type = $1 AND resource_id = $2 AND holder_agent_id = $3
         RETURNING l",
        &[kind.into(), resource.into(), agent.into(), ttl.into()],
    )?;
    if renewed.is_some() {
        return Ok(renewed);
    }
    one(
        "INSERT INTO peer.caliber_lock AS l
             (resource_type, resource_id, holder_agent_id, mode, expires_at)
         VALUES ($1, $2, $3, 'exclusive', clock_timestamp() + $4)
         RETURNING l",
        &[kind.into(), resource.into(), agent.into(), ttl.into()],
    )
}

#[pg_extern]
fn spi_lock_release(id: Uuid, fence: i64) -> spi::Result<bool> {
    let released: Option<bool> = one(
        "DELETE FROM peer.caliber_lock WHERE lock_id = $1 AND fence = $2 RETURNING true",
        &[id.into(), fence.into()],
    )?;
    Ok(released.is_some())
}

#[pg_extern]
fn spi_message_send(
    from: Uuid,
    message_type: &str,
    payload: JsonB,
    to: Uuid,
) -> spi::Result<Option<Uuid>> {
    let id: Option<Uuid> = one(
        "INSERT INTO peer.caliber_message (from_agent_id, to_agent_id, message_type, payload)
         VALUES ($1, $2, $3, $4)
         RETURNING message_id",
        &[from.into(), to.into(), message_type.into(), payload.into()],
    )?;
    let Some(id) = id else { return Ok(None) };
    one::<String>(
        "SELECT pg_notify('peer_agent_' || $1, $2::text)::text",
        &[to.into(), id.into()],
    )?;
    Ok(Some(id))
}

#[pg_extern]
fn spi_message_receive(
    agent: Uuid,
    most: i32,
    visibility: Interval,
) -> spi::Result<SetOfIterator<'static, Row>> {
    let kind: Option<String> =
        one("SELECT agent_type FROM peer.caliber_agent WHERE agent_id = $1", &[agent.into()])?;
    let Some(kind) = kind else {
        error!("agent {agent} is unknown");
    };
    let messages: Vec<Row> = all(
        "UPDATE peer.caliber_message m
         SET status = 'delivered', visible_at = clock_timestamp() + $4,
             delivery_count = m.delivery_count + 1, claimed_by = $1,
             delivered_at = clock_timestamp(), updated_at = now(), version = m.version + 1
         FROM (
             SELECT * FROM (
                 SELECT message_id, priority, visible_at FROM peer.caliber_message
                 WHERE to_agent_id = $1 AND status IN ('pending', 'delivered')
                   AND visible_at <= (SELECT clock_timestamp())
                   AND delivery_count < max_deliveries
                   AND (expires_at IS NULL OR expires_at > clock_timestamp())
                 ORDER BY priority DESC, visible_at, message_id LIMIT $3
                 FOR NO KEY UPDATE SKIP LOCKED) to_agent
             UNION ALL
             SELECT * FROM (
                 SELECT message_id, priority, visible_at FROM peer.caliber_message
                 WHERE to_agent_type = $2 AND status IN ('pending', 'delivered')
                   AND visible_at <= (SELECT clock_timestamp())
                   AND delivery_count < max_deliveries
                   AND (expires_at IS NULL OR expires_at > clock_timestamp())
                 ORDER BY priority DESC, visible_at, message_id LIMIT $3
                 FOR NO KEY UPDATE SKIP LOCKED) to_type
             ORDER BY priority DESC, visible_at, message_id LIMIT $3) claimed
         WHERE m.message_id = claimed.message_id
         RETURNING m",
        &[agent.into(), kind.into(), most.into(), visibility.into()],
    )?;
    Ok(SetOfIterator::new(messages))
}

#[pg_extern]
fn spi_message_acknowledge(id: Uuid, agent: Uuid, receipt: i32) -> spi::Result<Option<Row>> {
    one(
        "UPDATE peer.caliber_message m
         SET status = 'acknowledged', acknowledged_at = clock_timestamp(),
             updated_at = now(), version = version + 1
         WHERE message_id = $1 AND status = 'delivered' AND claimed_by = $2
           AND delivery_count = $3
         RETURNING m",
        &[id.into(), agent.into(), receipt.into()],
    )
}
