//! The OpenAPI document of the API, made from its types.

use utoipa::openapi::content::Content;
use utoipa::openapi::path::{
    HttpMethod, OperationBuilder, Parameter, ParameterBuilder, ParameterIn,
};
use utoipa::openapi::schema::{Components, Schema, SchemaType, Type};
use utoipa::openapi::{
    Info, License, OpenApi, OpenApiBuilder, PathItem, Paths, Ref, RefOr, Required, ResponseBuilder,
};
use utoipa::{PartialSchema, ToSchema};

use super::agents::AgentsQuery;
use super::evidence::EvidenceQuery;
use super::focus::FocusQuery;
use super::incidents::IncidentsQuery;
use super::matrix::MatrixQuery;
use super::paths::PathsQuery;
use super::status::StatusQuery;
use super::topology::TopologyQuery;
use super::traces::TracesQuery;
use super::trends::TrendsQuery;
use super::withdrawn::{Forgotten, WithdrawnQuery};
use super::{Error, Request};

/// Statuses of an answer that is none, with their reasons.
const FAILURES: [(&str, &str); 4] = [
    (
        "400",
        "The query string is wrong; the message names the parameter and what is allowed",
    ),
    (
        "403",
        "`web_auth_header` is set and the request does not have this header; or a `DELETE` where nothing says who asks",
    ),
    (
        "421",
        "The `Host` header is no name of this server: a loopback name, its address, or a name of `web_hosts`",
    ),
    (
        "503",
        "The analyzer is stopping, or its store does not answer",
    ),
];

/// The document: all resources of `/api/v1`.
pub fn document() -> OpenApi {
    let mut made = Made::default();
    made.add::<PathsQuery>();
    made.add::<AgentsQuery>();
    made.add::<TracesQuery>();
    made.add::<IncidentsQuery>();
    made.add::<StatusQuery>();
    made.add::<MatrixQuery>();
    made.add::<TopologyQuery>();
    made.add::<FocusQuery>();
    made.add::<WithdrawnQuery>();
    made.add::<EvidenceQuery>();
    made.add::<TrendsQuery>();
    made.add_forget();
    made.schemas.push((Error::name().into(), Error::schema()));
    let mut components = Components::new();
    for (name, mut schema) in made.schemas {
        require_all(&mut schema);
        components.schemas.insert(name, schema);
    }
    let mut info = Info::new("rpingmesh analyzer", env!("CARGO_PKG_VERSION"));
    info.description = Some(
        "What the analyzer of rpingmesh knows. Only `DELETE /api/v1/withdrawn` changes anything. Durations and points in time are integer nanoseconds. \
         Fields and names may be added within /api/v1, never renamed or removed."
            .to_owned(),
    );
    info.license = Some(License::new("MIT OR Apache-2.0"));
    OpenApiBuilder::new()
        .info(info)
        .paths(made.paths)
        .components(Some(components))
        .build()
}

/// What is made while resources are added.
#[derive(Default)]
struct Made {
    paths: Paths,
    schemas: Vec<(String, RefOr<Schema>)>,
}

impl Made {
    fn add<Q: Request>(&mut self) {
        let id = Q::PATH.rsplit('/').next().unwrap_or_default();
        let operation = operation::<Q, Q::Answer>(id, Q::SUMMARY, &FAILURES);
        let item = PathItem::new(HttpMethod::Get, operation);
        self.paths.paths.insert(Q::PATH.to_owned(), item);
        self.schemas
            .push((Q::Answer::name().into(), Q::Answer::schema()));
        Q::Answer::schemas(&mut self.schemas);
        Q::schemas(&mut self.schemas);
    }

    /// `DELETE` of what is missing.
    fn add_forget(&mut self) {
        const MORE: [(&str, &str); 2] = [
            ("404", "Nothing of this name was there and is missing"),
            ("409", "It is there: only what is missing can be forgotten"),
        ];
        let failures: Vec<_> = FAILURES.into_iter().chain(MORE).collect();
        let summary =
            "Acknowledges that a host, or an RNIC of a host, is missing: it is reported no more";
        let operation = operation::<WithdrawnQuery, Forgotten>("forget", summary, &failures);
        let mut operation = operation.build();
        // Whoever forgets says what.
        for parameter in operation.parameters.iter_mut().flatten() {
            if let RefOr::T(parameter) = parameter
                && parameter.name == "host"
            {
                parameter.required = Required::True;
            }
        }
        if let Some(item) = self.paths.paths.get_mut(WithdrawnQuery::PATH) {
            item.delete = Some(operation);
        }
        self.schemas
            .push((Forgotten::name().into(), Forgotten::schema()));
    }
}

/// An operation with its parameters, its answer, and the answers that are none.
fn operation<Q: Request, A: ToSchema>(
    id: &str,
    summary: &str,
    failures: &[(&str, &str)],
) -> OperationBuilder {
    let answer = Content::new(Some(Ref::from_schema_name(A::name())));
    let answered = ResponseBuilder::new()
        .description(summary)
        .content("application/json", answer)
        .build();
    let mut operation = OperationBuilder::new()
        .summary(Some(summary))
        .operation_id(Some(id))
        .parameters(Some(parameters::<Q>()))
        .response("200", answered);
    for (status, why) in failures {
        let error = Content::new(Some(Ref::from_schema_name(Error::name())));
        let failure = ResponseBuilder::new()
            .description(*why)
            .content("application/json", error)
            .build();
        operation = operation.response(*status, failure);
    }
    operation
}

/// The parameters of a request: the fields of its type.
pub(super) fn parameters<Q: Request>() -> Vec<Parameter> {
    let RefOr::T(Schema::Object(object)) = Q::schema() else {
        return Vec::new();
    };
    object
        .properties
        .into_iter()
        .map(|(name, schema)| {
            let (schema, description) = value_of(schema);
            ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Query)
                .required(Required::False)
                .description(description)
                .schema(Some(schema))
                .build()
        })
        .collect()
}

/// The schema of a field's value where there is one, without null, and what the field means.
fn value_of(schema: RefOr<Schema>) -> (RefOr<Schema>, Option<String>) {
    match schema {
        RefOr::Ref(mut reference) => {
            let description = std::mem::take(&mut reference.description);
            (RefOr::Ref(reference), Some(description))
        }
        RefOr::T(Schema::OneOf(mut choice)) => {
            choice.items.retain(|item| !is_null(item));
            match (choice.items.pop(), choice.items.is_empty()) {
                (Some(only), true) => value_of(only),
                (last, _) => {
                    choice.items.extend(last);
                    (RefOr::T(Schema::OneOf(choice)), None)
                }
            }
        }
        RefOr::T(Schema::Object(mut object)) => {
            if let SchemaType::Array(types) = &mut object.schema_type {
                types.retain(|one| *one != Type::Null);
                if let [only] = &**types {
                    object.schema_type = SchemaType::Type(only.clone());
                }
            }
            let description = object.description.take();
            (RefOr::T(Schema::Object(object)), description)
        }
        other @ RefOr::T(_) => (other, None),
    }
}

/// Whether a schema allows nothing but null.
pub(super) fn is_null(schema: &RefOr<Schema>) -> bool {
    let null = SchemaType::Type(Type::Null);
    matches!(schema, RefOr::T(Schema::Object(object)) if object.schema_type == null)
}

/// Every field of an answer is always there: null where there is no value.
fn require_all(schema: &mut RefOr<Schema>) {
    if let RefOr::T(Schema::Object(object)) = schema {
        object.required = object.properties.keys().cloned().collect();
    }
}
