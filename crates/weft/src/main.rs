//! The `weft` executable: arguments, commands, and `assemble`, the only place that knows every crate.

#![forbid(unsafe_code)]

mod assemble;
mod commands;
mod logging;
mod terminal;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Data planes allocate small pieces of many sizes at a high rate, HTTP/2 most of all, and give them back from the thread
/// that took them; the C library's allocator takes an eighth of a gRPC call for that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// One file says how your services talk; one binary makes them talk that way.
#[derive(Parser)]
#[command(name = "weft", version, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    common: commands::Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the whole system on this machine.
    Up(commands::up::Args),
    /// Replace processes of a running system without losing a request.
    Restart(commands::restart::Args),
    /// Drain a running system and end it.
    Down(commands::down::Args),
    /// Report every mistake of the manifest.
    Check(commands::check::Args),
    /// Show what would happen to a request, and which line says so.
    Explain(commands::explain::Args),
    /// Print the derived plans.
    Plan(commands::plan::Args),
    /// Print the JSON Schema of the manifest.
    Schema(commands::schema::Args),
    /// Show services, instances, plan versions and what is really enforced.
    Status(commands::status::Args),
    /// Show the live rate, success and latency of every edge.
    Top(commands::top::Args),
    /// End identities, and let them come back.
    Identity(commands::identity::Args),
    /// Run the edge.
    Gateway(commands::gateway::Args),
    /// Run beside one instance of a service.
    Sidecar(commands::sidecar::Args),
    /// Run the control plane.
    Control(commands::control::Args),
    /// Hold one child process: end it, with all that it started, when the parent ends.
    #[command(hide = true)]
    Keep(commands::keep::Args),
    /// Print a completion script for a shell.
    Completions(commands::completions::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let common = cli.common;
    let result = match cli.command {
        Command::Up(args) => commands::up::run(&common, args),
        Command::Restart(args) => commands::restart::run(&common, args),
        Command::Down(args) => commands::down::run(&common, args),
        Command::Check(args) => commands::check::run(&common, args),
        Command::Explain(args) => commands::explain::run(&common, args),
        Command::Plan(args) => commands::plan::run(&common, args),
        Command::Schema(args) => commands::schema::run(&common, args),
        Command::Status(args) => commands::status::run(&common, args),
        Command::Top(args) => commands::top::run(&common, args),
        Command::Identity(args) => commands::identity::run(&common, args),
        Command::Gateway(args) => commands::gateway::run(&common, args),
        Command::Sidecar(args) => commands::sidecar::run(&common, args),
        Command::Control(args) => commands::control::run(&common, args),
        Command::Keep(args) => commands::keep::run(&common, args),
        Command::Completions(args) => commands::completions::run(&common, args),
    };
    result.unwrap_or_else(|error| commands::failed(&error))
}
