//! Why a store cannot be used, whatever its engine.

/// The engine's own error.
pub(super) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a store cannot be used. What is stored stays as it is in every case. `store` is the file's path, or the URL
/// without its password.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the store.
    #[error(
        "database {store} is locked by another process: stop the other one (for example another instance of this \
         program) or choose another file"
    )]
    Busy {
        /// The store.
        store: String,
    },
    /// A later version of this program has changed the layout.
    #[error(
        "database {store} has layout version {found}{}, this program knows versions up to {supported}: use the newer \
         program, or another {}",
        schema(store),
        place(store)
    )]
    NewerSchema {
        /// The store.
        store: String,
        /// The version of the layout in the store.
        found: i64,
        /// The newest that this program knows.
        supported: usize,
    },
    /// An earlier version of this program has made the layout, and this call does not change it.
    #[error(
        "database {store} has layout version {found}{}, this program needs version {needed}: start the controller or analyzer of \
         this version first",
        schema(store)
    )]
    OlderSchema {
        /// The store.
        store: String,
        /// The version of the layout in the store; 0 for none.
        found: i64,
        /// The version that is needed.
        needed: usize,
    },
    /// `rpingmesh store migrate` has not come to its end.
    #[error(
        "database {store} holds a part of what is copied from {source_store}: run `rpingmesh store migrate` from there again, to \
         its end, or start with an empty {}",
        place(store)
    )]
    Unfinished {
        /// The store.
        store: String,
        /// Where the copy comes from.
        source_store: String,
    },
    /// The store belongs to another program.
    #[error("{store} is not a database of this program ({why}): choose another file")]
    Foreign {
        /// The store.
        store: String,
        /// What it is instead.
        why: String,
    },
    /// The file is something else.
    #[error("{store} is not a database: choose another file")]
    NoDatabase {
        /// The store.
        store: String,
    },
    /// What is stored cannot be read as what it should be.
    #[error(
        "database {store} is damaged: restore it from a backup, or {} to start empty",
        putting_away(store)
    )]
    Corrupt {
        /// The store.
        store: String,
        /// The cause.
        #[source]
        source: Cause,
    },
    /// This user may read the store and not write it.
    #[error(
        "database {store} is read-only: give this user the right to write it and its folder, or choose another file"
    )]
    ReadOnly {
        /// The store.
        store: String,
    },
    /// The store cannot be reached: a file or folder that cannot be opened, a server that does not answer.
    #[error(
        "cannot open database {store}: check that the folder exists and that this user may read and write it"
    )]
    Unavailable {
        /// The store, or the folder that it should be in.
        store: String,
        /// The cause.
        #[source]
        source: Cause,
    },
    /// No space is left.
    #[error(
        "no space left for database {store}: what was stored is safe, the last change was not stored"
    )]
    Full {
        /// The store.
        store: String,
    },
    /// A migration of the layout failed; the store is as before.
    #[error("database {store}: changing its layout to version {version} failed")]
    Migration {
        /// The store.
        store: String,
        /// The version that could not be reached.
        version: usize,
        /// The cause.
        #[source]
        source: Cause,
    },
    /// Any other failure: the change was not made.
    #[error("database {store}")]
    Failed {
        /// The store.
        store: String,
        /// The cause.
        #[source]
        source: Cause,
    },
    /// The server does not answer, or the connection was lost.
    #[error(
        "cannot reach database {store}: check that its server runs and answers at this address"
    )]
    Unreachable {
        /// The store.
        store: String,
        /// The cause.
        #[source]
        source: Cause,
    },
    /// The server refuses this user.
    #[error(
        "database {store} refuses this user: check the user, the password file, that the database exists, and the user's rights"
    )]
    Denied {
        /// The store.
        store: String,
        /// What the server says.
        #[source]
        source: Cause,
    },
    /// The server takes no changes.
    #[error(
        "database {store} is read-only, as replicas are: name the primary, or several hosts with commas between them"
    )]
    Replica {
        /// The store.
        store: String,
    },
    /// A file that the URL names cannot be used.
    #[error("database {store}: {file} ({parameter}) cannot be used")]
    Parameter {
        /// The store.
        store: String,
        /// The URL's parameter.
        parameter: &'static str,
        /// The file.
        file: String,
        /// The cause.
        #[source]
        source: Cause,
    },
    /// The database keeps another fleet's data.
    #[error(
        "database {store} keeps the data of fleet `{found}`, not of `{wanted}`: choose another database, or correct the URL's \
         parameter fleet"
    )]
    OtherFleet {
        /// The store.
        store: String,
        /// Whose data it keeps.
        found: String,
        /// Whose was wanted.
        wanted: String,
    },
    /// Another program of this role works with the store.
    #[error(
        "database {store} is used by another {role} ({holder}): one at a time can use it; stop the other one, or let this one \
         be started again until the other has gone"
    )]
    Taken {
        /// The store.
        store: String,
        /// The programs' role.
        role: &'static str,
        /// Who has it.
        holder: String,
    },
    /// The other controllers or analyzers that share the store have given this one up.
    #[error(
        "database {store}: this program was silent for too long (stopped, or without its network), and the others have given it up: \
         it must be started again"
    )]
    GivenUp {
        /// The store.
        store: String,
    },
    /// The store was closed while the call waited.
    #[error("database {store} is closed")]
    Closed {
        /// The store.
        store: String,
    },
}

/// Whether a store is on a server.
fn is_on_server(store: &str) -> bool {
    store.contains("://")
}

/// What a store is.
fn place(store: &str) -> &'static str {
    if is_on_server(store) {
        "database"
    } else {
        "file"
    }
}

/// Where in the store the tables are, if that is not all of it.
fn schema(store: &str) -> &'static str {
    if is_on_server(store) {
        " in its schema rpingmesh"
    } else {
        ""
    }
}

/// How a store is emptied.
fn putting_away(store: &str) -> &'static str {
    if is_on_server(store) {
        "drop its schema rpingmesh"
    } else {
        "move it away"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_do_fits_the_engine() {
        let told = ["/var/lib/a.db", "postgres://ann@db/rpingmesh"].map(|store| {
            let store = store.to_owned();
            [
                StoreError::NewerSchema {
                    store: store.clone(),
                    found: 9,
                    supported: 2,
                },
                StoreError::OlderSchema {
                    store: store.clone(),
                    found: 1,
                    needed: 2,
                },
                StoreError::Unfinished {
                    store: store.clone(),
                    source_store: "sqlite:old.db".to_owned(),
                },
                StoreError::Corrupt {
                    store,
                    source: "a page".into(),
                },
            ]
            .map(|error| error.to_string())
            .join("\n")
        });
        insta::assert_snapshot!(told.join("\n"));
    }
}
