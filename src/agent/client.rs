//! What the agent asks the controller, in the domain's types.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tonic::transport::Channel;

use crate::cluster_key::Order;
use crate::config::ConfigError;
use crate::id::AgentId;
use crate::net::client::{channel, channel_to_one_of_several};
use crate::net::tls::Security;
use crate::net::url::{Servers, Url};
use crate::pinglist::Pinglist;
use crate::pinglist::delta::PinglistDelta;
use crate::pinglist::focus::FocusList;
use crate::rpc::MAX_MESSAGE_BYTES;
use crate::rpc::convert::FieldError;
use crate::rpc::focus;
use crate::rpc::registry::{ResolvedRnic, TargetQuery};
use crate::rpc::shards::Assignment;
use crate::rpc::v1::controller_service_client::ControllerServiceClient;
use crate::rpc::v1::{self, GetConfigRequest, GetPinglistRequest, ResolveTargetRequest};

/// How long a single answer of a server may take.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a server did not give what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The call failed; the text names the peer where it could not be reached.
    #[error("{}", status_text(server, status))]
    Status {
        /// The server.
        server: Url,
        /// gRPC's answer.
        status: Box<tonic::Status>,
    },
    /// No answer in time.
    #[error("{server}: no answer within {CALL_TIMEOUT:?}")]
    Timeout {
        /// The server.
        server: Url,
    },
    /// The answer cannot be used.
    #[error("{server}: the answer cannot be used, is it another version? {source}")]
    Answer {
        /// The server.
        server: Url,
        /// The field.
        #[source]
        source: FieldError,
    },
}

impl CallError {
    /// Whether another server may answer the same question.
    fn is_of_the_server(&self) -> bool {
        match self {
            Self::Status { status, .. } => status.code() == tonic::Code::Unavailable,
            Self::Timeout { .. } => true,
            Self::Answer { .. } => false,
        }
    }
}

/// An answer that is only sent when there is news.
#[derive(Debug, Clone, PartialEq)]
pub struct Versioned<T> {
    /// Version of the newest.
    pub version: u64,
    /// The newest; `None` where the asker has it already.
    pub value: Option<T>,
}

/// The controller, seen by one agent: one of several at a time. Clones ask the same one. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Controller {
    servers: Arc<[Server]>,
    /// Which of them is asked.
    current: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Server {
    url: Url,
    client: ControllerServiceClient<Channel>,
}

impl Controller {
    /// Connects at the first call, to one of them that is chosen at random. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`ConfigError::Value`] for `controller`: URL and TLS settings contradict each other.
    pub fn new(urls: &Servers, security: &Security) -> Result<Self, ConfigError> {
        let connect = if urls.iter().len() > 1 {
            channel_to_one_of_several
        } else {
            channel
        };
        let server = |url: &Url| {
            let channel = connect(url, security)
                .map_err(|error| ConfigError::value("controller", error.to_string()))?;
            let client =
                ControllerServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
            Ok(Server {
                url: url.clone(),
                client,
            })
        };
        let servers: Arc<[_]> = urls
            .iter()
            .map(server)
            .collect::<Result<_, ConfigError>>()?;
        let first = rand::random_range(0..servers.len());
        Ok(Self {
            servers,
            current: Arc::new(AtomicUsize::new(first)),
        })
    }

    fn server(&self) -> &Server {
        &self.servers[self.current.load(Ordering::Relaxed) % self.servers.len()]
    }

    /// The generated client, for the registration's stream.
    pub(crate) fn client(&self) -> ControllerServiceClient<Channel> {
        self.server().client.clone()
    }

    /// Asks the next one from now on, where there are several.
    pub(crate) fn move_on(&self) {
        self.current.fetch_add(1, Ordering::Relaxed);
    }

    /// The registered RNICs that a query finds; none if nothing matches.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn resolve(&self, query: &TargetQuery) -> Result<Vec<ResolvedRnic>, CallError> {
        let found = self.resolve_all(std::slice::from_ref(query)).await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// The registered RNICs that each of several queries finds, in the order of the queries. The controller takes 1024
    /// in one call.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn resolve_all(
        &self,
        queries: &[TargetQuery],
    ) -> Result<Vec<Vec<ResolvedRnic>>, CallError> {
        let request = ResolveTargetRequest {
            queries: queries.iter().map(Into::into).collect(),
        };
        let answer = self.resolved(request).await?;
        if answer.targets.len() != queries.len() {
            let (asked, got) = (queries.len(), answer.targets.len());
            let why = format!("has {got} entries for {asked} queries");
            return Err(self.unusable(FieldError::new("targets", why)));
        }
        answer
            .targets
            .into_iter()
            .map(|target| {
                target
                    .rnics
                    .into_iter()
                    .map(|rnic| ResolvedRnic::try_from(rnic).map_err(|error| self.unusable(error)))
                    .collect()
            })
            .collect()
    }

    /// An answer of the first server that can be reached. Which one the agent is registered with stays as it is.
    async fn resolved(
        &self,
        request: ResolveTargetRequest,
    ) -> Result<v1::ResolveTargetResponse, CallError> {
        let current = self.current.load(Ordering::Relaxed);
        let mut failure = None;
        for place in 0..self.servers.len() {
            let server = &self.servers[(current + place) % self.servers.len()];
            let mut client = server.client.clone();
            match call(&server.url, client.resolve_target(request.clone())).await {
                Ok(answer) => return Ok(answer),
                Err(error) if error.is_of_the_server() => failure = failure.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        Err(failure.unwrap_or_else(|| CallError::Timeout {
            server: self.server().url.clone(),
        }))
    }

    /// The agent's pinglist: nothing but the version if that is known, or what has changed since, or the whole.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn pinglist(
        &self,
        agent: &AgentId,
        known_version: u64,
    ) -> Result<v1::GetPinglistResponse, CallError> {
        let request = GetPinglistRequest {
            agent_id: agent.as_str().to_owned(),
            known_version,
            takes_delta: known_version != 0,
        };
        let mut client = self.client();
        self.call(client.get_pinglist(request)).await
    }

    /// Rates and limits that the controller sets for all agents.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn config(
        &self,
        known_version: u64,
    ) -> Result<Versioned<v1::AgentConfig>, CallError> {
        let mut client = self.client();
        let answer = self
            .call(client.get_config(GetConfigRequest { known_version }))
            .await?;
        Ok(Versioned {
            version: answer.version,
            value: answer.config,
        })
    }

    /// A pinglist's message in the domain's types.
    ///
    /// # Errors
    /// [`CallError::Answer`].
    pub fn read(&self, message: v1::Pinglist) -> Result<Pinglist, CallError> {
        Pinglist::try_from(message).map_err(|error| self.unusable(error))
    }

    /// What has changed in a pinglist, in the domain's types.
    ///
    /// # Errors
    /// [`CallError::Answer`].
    pub fn read_delta(&self, message: v1::PinglistDelta) -> Result<PinglistDelta, CallError> {
        PinglistDelta::try_from(message).map_err(|error| self.unusable(error))
    }

    /// What to probe more, in the domain's types.
    ///
    /// # Errors
    /// [`CallError::Answer`].
    pub(crate) fn read_focus(&self, rnics: Vec<v1::FocusedRnic>) -> Result<FocusList, CallError> {
        focus::from_messages(rnics).map_err(|error| self.unusable(error))
    }

    /// What to sign and verify with, in the domain's types.
    ///
    /// # Errors
    /// [`CallError::Answer`].
    pub(crate) fn read_keys(&self, keys: v1::ClusterKeys) -> Result<Order, CallError> {
        Order::try_from(keys).map_err(|error| self.unusable(error))
    }

    /// Which analyzer takes the results, in the domain's types.
    ///
    /// # Errors
    /// [`CallError::Answer`].
    pub(crate) fn read_assignment(
        &self,
        message: v1::AnalyzerAssignment,
    ) -> Result<Assignment, CallError> {
        Assignment::try_from(message).map_err(|error| self.unusable(error))
    }

    /// A failed call as an error that names the server.
    pub(crate) fn failed(&self, status: tonic::Status) -> CallError {
        CallError::Status {
            server: self.server().url.clone(),
            status: Box::new(status),
        }
    }

    fn unusable(&self, source: FieldError) -> CallError {
        CallError::Answer {
            server: self.server().url.clone(),
            source,
        }
    }

    async fn call<T>(
        &self,
        asked: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    ) -> Result<T, CallError> {
        call(&self.server().url, asked).await
    }
}

async fn call<T>(
    server: &Url,
    asked: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, CallError> {
    let server = || server.clone();
    match tokio::time::timeout(CALL_TIMEOUT, asked).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(CallError::Status {
            server: server(),
            status: Box::new(status),
        }),
        Err(_) => Err(CallError::Timeout { server: server() }),
    }
}

/// A status in words, with the server unless the words name it.
pub(super) fn status_text(server: &Url, status: &tonic::Status) -> String {
    let (server, text) = (server.to_string(), status.message());
    if text.contains(&server) {
        text.to_owned()
    } else {
        format!("{server}: {text} ({:?})", status.code())
    }
}
