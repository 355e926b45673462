//! What is seen and what is shown of it. Pure: keys and answers in, nothing drawn here.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use rpingmesh::api::agents::Agent;
use rpingmesh::api::focus::{Focus, Question};
use rpingmesh::api::incidents::Incident;
use rpingmesh::api::matrix::Matrix;
use rpingmesh::api::status::Status;

/// What the analyzer has said in one look.
#[derive(Debug, Clone)]
pub(super) struct Answers {
    pub(super) status: Status,
    pub(super) matrix: Matrix,
    pub(super) incidents: Vec<Incident>,
    pub(super) agents: Vec<Agent>,
    /// `None` of an older analyzer.
    pub(super) focus: Option<Focus>,
}

impl Answers {
    /// The analyzer's clock.
    pub(super) const fn now(&self) -> i64 {
        self.status.now_unix_ns
    }

    /// Open incidents first, each as the analyzer has put them in order; what another one explains is below that.
    pub(super) fn incidents(&self) -> Vec<&Incident> {
        let mut all: Vec<_> = self.incidents.iter().collect();
        all.sort_by_key(|incident| incident.closed_unix_ns.is_some());
        all
    }

    /// Those that have been silent for longest first.
    pub(super) fn agents(&self) -> Vec<&Agent> {
        let mut all: Vec<_> = self.agents.iter().collect();
        all.sort_by_key(|agent| agent.last_upload_unix_ns);
        all
    }

    /// What is asked about, most probes first.
    pub(super) fn questions(&self) -> &[Question] {
        self.focus
            .as_ref()
            .map_or(&[], |focus| focus.questions.as_slice())
    }

    pub(super) fn tors(&self) -> &[String] {
        &self.matrix.tors
    }
}

/// Which page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Page {
    Matrix,
    Incidents,
    Agents,
    Focus,
}

impl Page {
    pub(super) const ALL: [Self; 4] = [Self::Matrix, Self::Incidents, Self::Agents, Self::Focus];

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Matrix => "1 Matrix",
            Self::Incidents => "2 Incidents",
            Self::Agents => "3 Agents",
            Self::Focus => "4 Focus",
        }
    }

    /// The page so many places further, the first after the last.
    fn beside(self, places: usize) -> Self {
        Self::ALL[(self.index() + places) % Self::ALL.len()]
    }

    pub(super) fn index(self) -> usize {
        Self::ALL.iter().position(|page| *page == self).unwrap_or(0)
    }
}

/// What the matrix shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Show {
    Loss,
    Rtt,
}

/// Everything that decides what is drawn.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) url: String,
    pub(super) seen: Option<Answers>,
    /// Why the last look failed.
    pub(super) error: Option<String>,
    pub(super) page: Page,
    pub(super) show: Show,
    /// The selected row of the page, and the first column of the matrix.
    pub(super) row: usize,
    pub(super) column: usize,
    /// The incident that is explained.
    pub(super) explained: Option<u64>,
    over: bool,
}

impl Model {
    pub(super) fn new(url: String) -> Self {
        Self {
            url,
            seen: None,
            error: None,
            page: Page::Matrix,
            show: Show::Loss,
            row: 0,
            column: 0,
            explained: None,
            over: false,
        }
    }

    pub(super) const fn is_over(&self) -> bool {
        self.over
    }

    /// Takes an answer; what was seen before stays when there is none.
    pub(super) fn take(&mut self, answer: Result<Answers, String>) {
        match answer {
            Ok(seen) => {
                self.seen = Some(seen);
                self.error = None;
            }
            Err(why) => self.error = Some(why),
        }
        self.keep_within();
    }

    pub(super) fn press(&mut self, key: KeyEvent) {
        if key.kind == KeyEventKind::Release {
            return;
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Esc if self.explained.is_some() => self.explained = None,
            KeyCode::Char('q') | KeyCode::Esc => self.over = true,
            KeyCode::Char('c') if control => self.over = true,
            KeyCode::Char('1') => self.turn_to(Page::Matrix),
            KeyCode::Char('2') => self.turn_to(Page::Incidents),
            KeyCode::Char('3') => self.turn_to(Page::Agents),
            KeyCode::Char('4') => self.turn_to(Page::Focus),
            KeyCode::Tab => self.turn_to(self.page.beside(1)),
            KeyCode::BackTab => self.turn_to(self.page.beside(Page::ALL.len() - 1)),
            KeyCode::Char('m') => {
                self.show = match self.show {
                    Show::Loss => Show::Rtt,
                    Show::Rtt => Show::Loss,
                };
            }
            KeyCode::Enter => self.explain(),
            KeyCode::Down | KeyCode::Char('j') => self.row = self.row.saturating_add(1),
            KeyCode::Up | KeyCode::Char('k') => self.row = self.row.saturating_sub(1),
            KeyCode::PageDown => self.row = self.row.saturating_add(20),
            KeyCode::PageUp => self.row = self.row.saturating_sub(20),
            KeyCode::Home => (self.row, self.column) = (0, 0),
            KeyCode::Right | KeyCode::Char('l') => self.column = self.column.saturating_add(1),
            KeyCode::Left | KeyCode::Char('h') => self.column = self.column.saturating_sub(1),
            _ => {}
        }
        self.keep_within();
    }

    fn turn_to(&mut self, page: Page) {
        self.page = page;
        self.explained = None;
        (self.row, self.column) = (0, 0);
    }

    fn explain(&mut self) {
        if self.page != Page::Incidents {
            return;
        }
        let selected = self
            .seen
            .as_ref()
            .and_then(|seen| Some(seen.incidents().get(self.row)?.id));
        self.explained = match self.explained {
            Some(_) => None,
            None => selected,
        };
    }

    fn keep_within(&mut self) {
        let (rows, columns) = self.seen.as_ref().map_or((0, 0), |seen| match self.page {
            Page::Matrix => (seen.tors().len(), seen.tors().len()),
            Page::Incidents => (seen.incidents().len(), 0),
            Page::Agents => (seen.agents().len(), 0),
            Page::Focus => (seen.questions().len(), 0),
        });
        self.row = self.row.min(rows.saturating_sub(1));
        self.column = self.column.min(columns.saturating_sub(1));
    }
}
