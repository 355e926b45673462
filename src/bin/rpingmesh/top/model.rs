//! What is seen and what is shown of it. Pure: keys and answers in, nothing drawn here.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use rpingmesh::api::agents::Agent;
use rpingmesh::api::component::Component;
use rpingmesh::api::focus::{Focus, Question};
use rpingmesh::api::incidents::Incident;
use rpingmesh::api::list::Listed as _;
use rpingmesh::api::list::filter::{Filter, LONGEST};
use rpingmesh::api::matrix::{Matrix, Pair};
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

    /// Open incidents first, the worst severity first, else as the analyzer has put them in order.
    pub(super) fn incidents(&self) -> Vec<&Incident> {
        let mut all: Vec<_> = self.incidents.iter().collect();
        all.sort_by_key(|incident| {
            (
                incident.closed_unix_ns.is_some(),
                incident.severity.to_string(),
            )
        });
        all
    }

    /// What was measured from one ToR to another.
    pub(super) fn pair(&self, source: &str, target: &str) -> Option<&Pair> {
        let mut pairs = self.matrix.pairs.iter();
        pairs.find(|pair| pair.source_tor == source && pair.target_tor == target)
    }

    /// Open incidents that are about a switch, or a link of it.
    pub(super) fn incidents_at(&self, switch: &str) -> impl Iterator<Item = &Incident> {
        let is_at = move |component: &Component| match component {
            Component::Link { from, to } => from == switch || to == switch,
            Component::Switch { name } => name == switch,
            Component::Host { .. }
            | Component::Rnic { .. }
            | Component::Group { .. }
            | Component::Other => false,
        };
        self.incidents.iter().filter(move |incident| {
            incident.closed_unix_ns.is_none()
                && std::iter::once(&incident.subject)
                    .chain(&incident.or)
                    .any(is_at)
        })
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

/// What Enter has opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Opened {
    /// An incident, by its number.
    Incident(u64),
    /// A pair of ToRs.
    Pair(String, String),
    /// An agent.
    Agent(String),
}

/// A filter as it was typed, and what it means.
#[derive(Debug, Default)]
pub(super) struct Typed {
    pub(super) text: String,
    filter: Filter,
}

/// A filter that is being typed.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Typing {
    pub(super) text: String,
    /// What is wrong with it.
    pub(super) error: Option<String>,
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
    /// The selected row of the page, and the selected column of the matrix.
    pub(super) row: usize,
    pub(super) column: usize,
    pub(super) opened: Option<Opened>,
    /// The filters of incidents and agents.
    pub(super) filters: [Typed; 2],
    pub(super) typing: Option<Typing>,
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
            opened: None,
            filters: Default::default(),
            typing: None,
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
        if self.typing.is_some() && !(control && key.code == KeyCode::Char('c')) {
            self.type_key(key.code);
            self.keep_within();
            return;
        }
        match key.code {
            KeyCode::Esc if self.opened.is_some() => self.opened = None,
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
            KeyCode::Char('/') if self.place_of_filter().is_some() => self.begin_typing(),
            KeyCode::Enter => self.open(),
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
        self.opened = None;
        (self.row, self.column) = (0, 0);
    }

    /// Opens what is selected, or goes back.
    fn open(&mut self) {
        if self.opened.take().is_some() {
            return;
        }
        let Some(seen) = &self.seen else {
            return;
        };
        let opened = match self.page {
            Page::Matrix => {
                let tors = seen.tors();
                let pair = tors.get(self.row).zip(tors.get(self.column));
                pair.map(|(from, to)| Opened::Pair(from.clone(), to.clone()))
            }
            Page::Incidents => {
                let incidents = self.incidents(seen);
                incidents
                    .get(self.row)
                    .map(|incident| Opened::Incident(incident.id))
            }
            Page::Agents => {
                let agents = self.agents(seen);
                agents
                    .get(self.row)
                    .map(|agent| Opened::Agent(agent.agent.clone()))
            }
            Page::Focus => {
                let question = seen.questions().get(self.row);
                question
                    .and_then(|question| question.incident)
                    .map(Opened::Incident)
            }
        };
        self.opened = opened;
    }

    /// The incidents that pass the filter.
    pub(super) fn incidents<'a>(&self, seen: &'a Answers) -> Vec<&'a Incident> {
        let mut all = seen.incidents();
        all.retain(|incident| self.filters[0].filter.matches(*incident));
        all
    }

    /// The agents that pass the filter.
    pub(super) fn agents<'a>(&self, seen: &'a Answers) -> Vec<&'a Agent> {
        let mut all = seen.agents();
        all.retain(|agent| self.filters[1].filter.matches(*agent));
        all
    }

    /// Which of the filters belongs to the page.
    pub(super) const fn place_of_filter(&self) -> Option<usize> {
        match self.page {
            Page::Incidents => Some(0),
            Page::Agents => Some(1),
            Page::Matrix | Page::Focus => None,
        }
    }

    fn begin_typing(&mut self) {
        let text = self
            .place_of_filter()
            .map(|at| self.filters[at].text.clone());
        self.opened = None;
        self.typing = Some(Typing {
            text: text.unwrap_or_default(),
            error: None,
        });
    }

    /// Takes a key of the filter's line: Enter applies it, Escape leaves it as it was.
    fn type_key(&mut self, code: KeyCode) {
        let at = self.place_of_filter();
        let (Some(typing), Some(at)) = (&mut self.typing, at) else {
            self.typing = None;
            return;
        };
        typing.error = None;
        match code {
            KeyCode::Esc => self.typing = None,
            KeyCode::Backspace => drop(typing.text.pop()),
            KeyCode::Char(character) if typing.text.chars().count() < LONGEST => {
                typing.text.push(character);
            }
            KeyCode::Enter => {
                let columns = [Incident::COLUMNS, Agent::COLUMNS][at];
                match Filter::parse(&typing.text, columns) {
                    Ok(filter) => {
                        let text = std::mem::take(&mut typing.text);
                        self.filters[at] = Typed { text, filter };
                        self.typing = None;
                        self.row = 0;
                    }
                    Err(error) => typing.error = Some(error.to_string()),
                }
            }
            _ => {}
        }
    }

    fn keep_within(&mut self) {
        let (rows, columns) = self.seen.as_ref().map_or((0, 0), |seen| match self.page {
            Page::Matrix => (seen.tors().len(), seen.tors().len()),
            Page::Incidents => (self.incidents(seen).len(), 0),
            Page::Agents => (self.agents(seen).len(), 0),
            Page::Focus => (seen.questions().len(), 0),
        });
        self.row = self.row.min(rows.saturating_sub(1));
        self.column = self.column.min(columns.saturating_sub(1));
    }
}
