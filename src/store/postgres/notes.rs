//! Short notes in the database, for programs that do not work with it: that a copy into it has not come to its end, and that the next
//! key is wanted. They need no lease.

use super::connection::Link;
use super::fence::Role;
use super::layout;
use super::lease::LEASE_SECONDS;
use crate::store::StoreError;
use crate::store::server::Server;
use crate::store::shared::ControllerSeen;

/// Where a copy into this role's tables comes from that has not come to its end.
///
/// # Errors
/// Those of the server.
pub(in crate::store) async fn copied_from(
    server: &Server,
    role: Role,
) -> Result<Option<String>, StoreError> {
    let link = Link::new(server).await?;
    let sql = "SELECT source FROM rpingmesh.unfinished_copy WHERE role = $1";
    let rows = link.query(sql, &[&role.name()]).await?;
    let source = rows.first().map(|row| row.try_get(0)).transpose();
    source.map_err(|error| super::errors::classify(&link.store, error))
}

/// Notes that a copy begins, or with `None` that it is complete.
///
/// # Errors
/// Those of the server.
pub(in crate::store) async fn note_copy(
    server: &Server,
    role: Role,
    source: Option<&str>,
) -> Result<(), StoreError> {
    let link = Link::new(server).await?;
    let Some(source) = source else {
        let sql = "DELETE FROM rpingmesh.unfinished_copy WHERE role = $1";
        return link.query(sql, &[&role.name()]).await.map(drop);
    };
    let sql = "INSERT INTO rpingmesh.unfinished_copy (role, source) VALUES ($1, $2)
               ON CONFLICT (role) DO UPDATE SET source = excluded.source";
    link.query(sql, &[&role.name(), &source]).await.map(drop)
}

/// Leaves the note that the next key is wanted: the controller that works with the database takes it, now or when it starts.
///
/// # Errors
/// The layout is of another version, or of another fleet; those of the server.
pub(in crate::store) async fn want_key(server: &Server) -> Result<(), StoreError> {
    let link = Link::new(server).await?;
    layout::check_present(&link, server.fleet()).await?;
    let sql = "INSERT INTO rpingmesh.request (name) VALUES ($1) ON CONFLICT (name) DO NOTHING";
    link.query(sql, &[&NEXT_KEY]).await.map(drop)
}

/// See [`open::controllers`](crate::store::open::controllers).
///
/// # Errors
/// The layout is of another version, or of another fleet; those of the server.
pub(in crate::store) async fn controllers(
    server: &Server,
) -> Result<Vec<ControllerSeen>, StoreError> {
    let link = Link::new(server).await?;
    layout::check_present(&link, server.fleet()).await?;
    let sql = "SELECT controller.name, controller.gone IS NOT NULL,
                      controller.gone IS NULL AND EXISTS
                          (SELECT 1 FROM rpingmesh.owner JOIN rpingmesh.lease ON lease.role = owner.role
                           WHERE owner.role = 'controller' AND owner.holder = controller.name
                             AND lease.renewed > now() - $1 * interval '1 second'),
                      (SELECT count(*) FROM rpingmesh.agent WHERE agent.controller = controller.id AND NOT agent.silent),
                      (extract(epoch FROM now() - controller.renewed) * 1e9)::bigint
               FROM rpingmesh.controller WHERE controller.id > 0 ORDER BY controller.id";
    let rows = link.query(sql, &[&LEASE_SECONDS]).await?;
    let seen = rows.iter().map(|row| {
        Ok(ControllerSeen {
            name: row.try_get(0)?,
            is_gone: row.try_get(1)?,
            is_holder: row.try_get(2)?,
            agents: row.try_get(3)?,
            seen_ago_ns: row.try_get(4)?,
        })
    });
    seen.collect::<Result<_, _>>()
        .map_err(|error| super::errors::classify(&link.store, error))
}

/// The name of that note.
pub(super) const NEXT_KEY: &str = "next-key";
