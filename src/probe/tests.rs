mod classes;
mod forgery;
mod harness;
mod properties;
mod scenarios;
mod services;
mod unanswered;
