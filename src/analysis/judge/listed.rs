//! The components of the problems of one pass, and which paths may cross one of them.
//!
//! Most paths of a large fabric cross none: which do is known by their ends and legs, without a look at what each crosses.

use std::rc::Rc;

use super::board::parts::Parts;
use super::board::{Board, NONE};
use super::view::View;
use crate::analysis::localize::ComponentId;

/// Components of the board that are components of the problems. See the module.
pub(super) struct Listed {
    /// By number on the board: the number in the problems.
    local: Vec<u32>,
    pub(super) ids: Rc<[ComponentId]>,
    /// Of the ends of paths: those whose RNIC or ToR is one of them.
    ends: Vec<bool>,
    /// Of the legs: those that cross one of them.
    legs: Vec<bool>,
    /// The number in the problems of the fabric between the ToRs, if it is one of them.
    fabric: Option<ComponentId>,
}

impl Listed {
    /// What these paths cross: those that have lost something.
    pub(super) fn of<'p>(view: &View<'_>, lossy: impl Iterator<Item = &'p u32>) -> Self {
        let board = view.board;
        let mut local = vec![NONE; board.components()];
        let mut ids: Vec<ComponentId> = Vec::new();
        let mut list = |id: ComponentId, ids: &mut Vec<ComponentId>| {
            let local = &mut local[id.0 as usize];
            if *local == NONE {
                *local = 0;
                ids.push(id);
            }
        };
        let mut parts = Parts::default();
        for at in lossy {
            board.parts(*at as usize, view.with_fabric, &mut parts);
            for (id, _) in parts.ends.iter().chain(&parts.between) {
                list(*id, &mut ids);
            }
        }
        // Both directions of a cable may stand in a switch's place.
        for at in 0..ids.len() {
            let reverse = board.component(ids[at]).reverse();
            if let Some(reverse) = reverse.and_then(|reverse| board.id(&reverse)) {
                list(reverse, &mut ids);
            }
        }
        ids.sort_unstable();
        for (number, id) in (0..).zip(&ids) {
            local[id.0 as usize] = number;
        }
        let is_listed = |id: ComponentId| local[id.0 as usize] != NONE;
        let ends = board.ends.iter();
        let ends = ends.map(|end| is_listed(end.rnic) || is_listed(end.tor));
        let legs = (0..board.legs()).map(|leg| board.leg_components(leg).any(is_listed));
        Self {
            ends: ends.collect(),
            legs: legs.collect(),
            fabric: board
                .cloud()
                .filter(|cloud| view.with_fabric && is_listed(*cloud))
                .map(|cloud| ComponentId(local[cloud.0 as usize])),
            local,
            ids: ids.into(),
        }
    }

    /// The number in the problems of a component of the board.
    pub(super) fn local(&self, id: ComponentId) -> Option<ComponentId> {
        let local = self.local[id.0 as usize];
        (local != NONE).then_some(ComponentId(local))
    }

    /// Parts by their numbers in the problems, without those that are none of them.
    pub(super) fn locals(&self, parts: &[(ComponentId, f64)]) -> Vec<(ComponentId, f64)> {
        let parts = parts.iter();
        parts
            .filter_map(|(id, share)| Some((self.local(*id)?, *share)))
            .collect()
    }

    /// Whether the component in a place of the board is one of them.
    pub(super) fn has_place(&self, at: usize) -> bool {
        self.local[at] != NONE
    }

    /// The fabric between the ToRs, if it is one of them and a path crosses it.
    pub(super) fn fabric(&self, board: &Board, at: usize) -> Option<ComponentId> {
        self.fabric.filter(|_| board.crosses_fabric(at))
    }

    /// Whether a path may cross one of them beside the fabric. False: it surely crosses none.
    pub(super) fn may_cross(&self, board: &Board, at: usize) -> bool {
        let place = board.place(at);
        place.ends().iter().any(|end| self.ends[*end])
            || place.legs().any(|leg| self.legs[leg])
            || board.has_bonds(at)
    }

    /// Whether a path crosses the fabric alone, or nothing, of all that is listed; by all that it crosses.
    pub(super) fn crosses_no_other(&self, view: &View<'_>, at: usize) -> bool {
        let mut parts = Parts::default();
        view.board.parts(at, view.with_fabric, &mut parts);
        let crossed = parts.ends.iter().chain(&parts.between);
        let listed = crossed.filter_map(|(id, share)| Some((self.local(*id)?, *share)));
        listed.eq(self.fabric(view.board, at).map(|fabric| (fabric, 1.0)))
    }
}
