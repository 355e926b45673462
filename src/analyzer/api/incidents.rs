//! `GET /api/v1/incidents`.

use std::collections::BTreeMap;

use crate::analysis::incident::{Explained as Known, Incident};
use crate::analysis::localize;
use crate::analyzer::view::View;
use crate::api;
use crate::api::component::Component;
use crate::api::incidents::{
    DEFAULT_LIMIT, Explained, Incidents, IncidentsQuery, Interval, Order, Service,
    State as IncidentState, Wanted,
};
use crate::api::query::{IncidentPageSize, Number};
use crate::store::incidents::Query;

fn limit(query: &IncidentsQuery) -> usize {
    query
        .limit
        .map_or(DEFAULT_LIMIT, IncidentPageSize::as_usize)
}

/// What the store is asked for: one more than fits, to tell whether there is a next page.
pub(in crate::analyzer) fn to_store(query: &IncidentsQuery) -> Query {
    let most = match query.id {
        Some(_) => 1,
        None => limit(query) + 1,
    };
    let before_id = query.id.map(|id| id.get().saturating_add(1));
    Query {
        open: match query.state.map_or(Wanted::All, |state| state.0) {
            Wanted::Open => Some(true),
            Wanted::Closed => Some(false),
            Wanted::All => None,
        },
        before: before_id.or(query.before.map(Number::get)),
        limit: u32::try_from(most).unwrap_or(u32::MAX),
    }
}

impl From<&localize::Component> for Component {
    fn from(component: &localize::Component) -> Self {
        match component.clone() {
            localize::Component::Link { from, to } => Self::Link { from, to },
            localize::Component::Switch { name } => Self::Switch { name },
            localize::Component::Host { name } => Self::Host { name },
            localize::Component::Group { name } => Self::Group { name },
            localize::Component::Rnic { host, device } => Self::Rnic {
                host: host.as_str().to_owned(),
                device: device.as_str().to_owned(),
            },
        }
    }
}

impl From<&Incident> for api::incidents::Incident {
    fn from(incident: &Incident) -> Self {
        Self {
            id: incident.id,
            state: if incident.is_open() {
                IncidentState::Open
            } else {
                IncidentState::Closed
            }
            .into(),
            severity: incident.severity.into(),
            category: incident.category.into(),
            title: incident.title(),
            subject: (&incident.subject).into(),
            both_directions: incident.both_directions,
            or: incident.or.iter().map(Into::into).collect(),
            deciding: incident.deciding,
            opened_unix_ns: incident.opened_unix_ns,
            seen_unix_ns: incident.seen_unix_ns,
            closed_unix_ns: incident.closed_unix_ns,
            confidence: incident.confidence,
            share: incident.share,
            interval: incident.interval.map(|[low, high]| Interval { low, high }),
            sent: incident.sent,
            lost: incident.lost,
            openings: incident.openings,
            subjects: incident.subjects.now,
            subjects_most: incident.subjects.most,
            explains: incident.explains.iter().map(Into::into).collect(),
            cause: incident.cause,
            services: services(&incident.services, true)
                .chain(services(&incident.perhaps, false))
                .collect(),
            evidence: incident.evidence.clone(),
        }
    }
}

fn services(services: &BTreeMap<String, bool>, own_path: bool) -> impl Iterator<Item = Service> {
    services.iter().map(move |(name, suffers)| Service {
        name: name.clone(),
        suffers: *suffers,
        own_path,
    })
}

impl From<&Known> for Explained {
    fn from(known: &Known) -> Self {
        Self {
            subject: (&known.subject).into(),
            category: known.category.into(),
            title: known.title.clone(),
            incident: known.incident,
            seen_unix_ns: known.seen_unix_ns,
        }
    }
}

/// Whether the open incidents are asked for by rank. Closed ones have none: they come newest first whatever is asked.
pub(in crate::analyzer) fn is_by_rank(query: &IncidentsQuery) -> bool {
    query.order.map(|order| order.0) == Some(Order::Rank)
        && query.state.map(|state| state.0) == Some(Wanted::Open)
}

/// Answers `GET /api/v1/incidents?state=open&order=rank`: what the last run has left open, the one to look at first at the top.
pub(in crate::analyzer) fn by_rank(query: &IncidentsQuery, view: &View) -> Incidents {
    let most = limit(query);
    let is_asked_for = |incident: &&Incident| {
        query.id.is_none_or(|id| incident.id == id.get())
            && query.before.is_none_or(|before| incident.id < before.get())
    };
    let asked_for = || view.open.iter().filter(is_asked_for);
    Incidents {
        next_before: None,
        left_out: asked_for().count().saturating_sub(most),
        incidents: asked_for().take(most).map(Into::into).collect(),
    }
}

/// Answers `GET /api/v1/incidents`: what the store has, and for open incidents what the last run knows better.
pub(in crate::analyzer) fn incidents(
    query: &IncidentsQuery,
    view: &View,
    mut stored: Vec<Incident>,
) -> Incidents {
    if let Some(id) = query.id {
        stored.retain(|incident| incident.id == id.get());
    }
    let more = query.id.is_none() && stored.len() > limit(query);
    stored.truncate(limit(query));
    let incidents: Vec<_> = stored
        .iter()
        .map(|stored| {
            let newest = view.open.iter().find(|open| open.id == stored.id);
            api::incidents::Incident::from(newest.unwrap_or(stored))
        })
        .collect();
    Incidents {
        left_out: 0,
        next_before: more.then(|| incidents.last().map(|last| last.id)).flatten(),
        incidents,
    }
}

#[cfg(test)]
mod tests;
