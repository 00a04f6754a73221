//! The command line: arguments, what is printed, exit codes. 0 ok, 1 failed, 2 usage, 3 configuration.
//!
//! Commands that look at a store, or order something, are calls of the API: by HTTP where a host holds the store, else in process.

mod backtest;
mod backup;
#[cfg(feature = "bench")]
mod bench;
mod call;
#[cfg(feature = "demo")]
mod demo;
mod host;
mod login;
mod outcome;
mod plugins;
mod shadow;
mod show;
mod things;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand};

use crate::clock::Clock;

use outcome::Failure;

/// The membrane between a company and its public: takes in what people say on every channel, and answers.
#[derive(Debug, Parser)]
#[command(name = "membrana", version, arg_required_else_help = true)]
struct Cli {
    /// The configuration.
    #[arg(long, global = true, default_value = "membrana.toml", value_name = "FILE")]
    config: PathBuf,
    /// Print JSON: a list as one object a line, a single thing as one object.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch a host at work on pretend networks; no set-up.
    #[cfg(feature = "demo")]
    Demo {
        /// End with the story, instead of staying to be played with.
        #[arg(long)]
        once: bool,
    },
    /// Write a commented membrana.toml and impact.toml.
    Init,
    /// Name every mistake of the configuration with its place and cure.
    Check,
    /// Run the host until it is stopped (Ctrl-C); SIGHUP reads the configuration again.
    Run,
    /// Show channels and what waits.
    Status,
    /// Channels.
    #[command(subcommand)]
    Channel(ChannelCommand),
    /// Plugin files.
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// What people said.
    #[command(subcommand)]
    Interaction(InteractionCommand),
    /// What teams must do.
    #[command(subcommand)]
    Task(TaskCommand),
    /// What leaves the company.
    #[command(subcommand)]
    Outbox(OutboxCommand),
    /// What could not be handled.
    #[command(subcommand)]
    Dead(DeadCommand),
    /// Put another build of a channel's, an analyzer's or a rule's plugin in force on the running host.
    Swap {
        /// The section's name in membrana.toml.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        name: String,
        /// A file that `membrana plugin build` wrote, or a bundled name.
        file: String,
        /// Why; kept in the history.
        #[arg(long)]
        reason: Option<String>,
        /// Keep it in force even if it fails more often, or takes far longer, than the build before: else it goes back by itself.
        #[arg(long)]
        stays: bool,
        /// The file is of another plugin than the one in force, and that is meant.
        #[arg(long)]
        another: bool,
        /// Put nothing in force yet: ask the build beside the one in force about so many items (5000), or for so long (10m), without effect;
        /// then tell in what they differ and what it costs. A connector is asked about what webhooks and streams bring, and has no way out.
        #[arg(long, value_name = "LENGTH", value_parser = shadow::length, conflicts_with = "stays")]
        shadow: Option<crate::plugin::Length>,
        /// Put it in force after all where this holds of what was heard: 'faults==0 && agreement>=0.98 && p99_ratio<=1.5'.
        #[arg(long, value_name = "CONDITION", requires = "shadow")]
        promote_if: Option<shadow::Condition>,
    },
    /// Put the build before in force again; a connector gets back the cursor and the state that it had.
    Rollback {
        /// The section's name in membrana.toml.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        name: String,
        /// Why; kept in the history.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Ask an analyzer again about what is stored, with the build in force. The host does it beside its work, over restarts; `channel list
    /// --json` and `--progress` tell how much is left. What was decided stays.
    Rerun {
        /// The analyzer's name in membrana.toml.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        name: String,
        /// Only what was received at or after this time (RFC 3339).
        #[arg(long)]
        since: Option<String>,
        /// How many entries are left; nothing is ordered.
        #[arg(long, conflicts_with_all = ["since", "stop"])]
        progress: bool,
        /// Ask about no more of them.
        #[arg(long, conflicts_with = "since")]
        stop: bool,
    },
    /// Ask an analyzer or a rule about what is stored, without any effect, and tell what it says otherwise than was said then. Works beside a
    /// running host and without one. What was taken back is left out; how exchanges stood then is not replayed.
    Backtest {
        /// The section's name in membrana.toml.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        name: String,
        /// Another build of its plugin (a file with .wasm, or a bundled name), or another membrana.toml, whose section of this name is asked;
        /// without it the build and the configuration in force.
        candidate: Option<String>,
        /// One channel only.
        #[arg(long)]
        channel: Option<String>,
        /// Only what was received at or after this time (RFC 3339).
        #[arg(long)]
        since: Option<String>,
        /// At most so many, the newest.
        #[arg(long)]
        limit: Option<usize>,
    },
    /// Builds that were put in force: when, by whom, why, and what came of it; newest first.
    History {
        /// The section's name in membrana.toml.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        name: String,
    },
    /// Copy all that is kept into a new folder, beside a running host or without one. The copy is read whole once before it is called a backup.
    /// It holds the company's tokens and what people said: keep it as you keep the data folder.
    Backup {
        /// Not there yet; on another disk if there is one.
        folder: PathBuf,
    },
    /// Put a backup in the place of the data folder, which is kept aside. No host may run. Replies that may have gone out since the backup are
    /// looked up or wait for a person, and so do automatic replies to what was said before.
    Restore {
        /// A folder that `membrana backup` wrote; it stays as it is.
        folder: PathBuf,
    },
    /// Read the whole store once and name what is damaged. Beside a running host, what that holds in memory is not read from the disk.
    Verify,
    /// The host's own: compile the component on the input, within these bounds.
    #[command(hide = true)]
    CompileComponent {
        /// Of address space.
        memory_bytes: u64,
        /// Of processor time.
        cpu_s: u64,
    },
    /// Measure speed as ratios to a baseline of the same run: boundary, pipeline, webhook, swap, neighbour, channels, restart, start.
    #[cfg(feature = "bench")]
    Bench {
        /// One of them; without it all.
        #[arg(value_parser = clap::builder::PossibleValuesParser::new(bench::NAMES.map(|name| clap::builder::PossibleValue::new(name).hide(name.ends_with(".fill")))))]
        name: Option<String>,
        /// Where stores are laid, and removed at the end; on a disk, for in memory fsync costs nothing.
        #[arg(long, value_name = "DIR", default_value = ".")]
        dir: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
enum ChannelCommand {
    /// Channels with their state.
    List {
        /// At most so many.
        #[arg(long)]
        limit: Option<usize>,
    },
    /// Hold a channel: nothing is polled or sent; webhooks are still taken.
    Pause {
        /// Its name.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        name: String,
    },
    /// Let a paused channel go on.
    Resume {
        /// Its name.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        name: String,
    },
    /// Ask the network now.
    Poll {
        /// Its name.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        name: String,
    },
    /// Log an account of the network in by the browser; the tokens are sealed in the data folder, and a running host goes on with them.
    Login {
        /// The channel's name.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        name: String,
        /// Which of the plugin's logins, where it has several.
        #[arg(long, value_name = "CREDENTIAL")]
        credential: Option<String>,
        /// Only print the address; open no browser.
        #[arg(long)]
        no_browser: bool,
        /// Listen for the network's answer on this port; register http://127.0.0.1:PORT/callback at the network. Without it any free one.
        #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
        port: Option<u16>,
    },
}

#[derive(Debug, Subcommand)]
enum PluginCommand {
    /// Build a plugin's folder into one file with its manifest.
    Build {
        /// The folder with Cargo.toml and plugin.toml.
        #[arg(default_value = ".")]
        dir: PathBuf,
        /// Where to write the file; by default NAME.wasm in the folder.
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Tell what a plugin is and wants, without running it.
    Inspect {
        /// A bundled name or a file.
        plugin: String,
    },
    /// Plugins there are; beside a running host, what each used: time, memory, bytes, what failed, and whether it is left alone.
    List {
        /// At most so many.
        #[arg(long)]
        limit: Option<usize>,
    },
}

#[derive(Debug, Args)]
struct ListArgs {
    /// One channel only.
    #[arg(long)]
    channel: Option<String>,
    /// At most so many; without it a terminal shows 20 and `--json` shows all.
    #[arg(long)]
    limit: Option<usize>,
}

#[derive(Debug, Subcommand)]
enum InteractionCommand {
    /// Newest first.
    List {
        #[command(flatten)]
        list: ListArgs,
        /// One kind only.
        #[arg(long)]
        kind: Option<String>,
        /// Received at or after this time (RFC 3339).
        #[arg(long)]
        since: Option<String>,
        /// The company's own, too.
        #[arg(long)]
        own: bool,
    },
    /// One, with annotations and decisions.
    Show {
        /// Its id.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        id: String,
        /// Write the bytes of its Nth attachment instead, counted from 0: `--attachment 0 > FILE`.
        #[arg(long, value_name = "N")]
        attachment: Option<u16>,
    },
    /// One, with everything that happened to it and why.
    Explain {
        /// Its id.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        id: String,
    },
    /// All, as JSON lines.
    Export {
        #[command(flatten)]
        list: ListArgs,
    },
}

#[derive(Debug, Subcommand)]
enum TaskCommand {
    /// Tasks.
    List {
        #[command(flatten)]
        list: ListArgs,
        /// One state only: open waiting done withdrawn.
        #[arg(long)]
        state: Option<String>,
        /// One team only.
        #[arg(long)]
        team: Option<String>,
    },
    /// One task.
    Show {
        /// Its id.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        id: String,
    },
    /// Close a task.
    Close {
        /// Its id.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        id: String,
        /// Who closes it.
        #[arg(long = "as", value_name = "TEAM", value_parser = NonEmptyStringValueParser::new())]
        by: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
enum OutboxCommand {
    /// Actions.
    List {
        #[command(flatten)]
        list: ListArgs,
        /// One state only.
        #[arg(long)]
        state: Option<String>,
    },
    /// One action, with its whole text.
    Show {
        /// Its id.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        id: String,
    },
    /// Let a draft go out; of one that needs a person (`human`): it is there on the network.
    Approve {
        /// Its id.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        id: String,
        /// Who approves: a reviewing team, where the rule names some.
        #[arg(long = "as", value_name = "TEAM", value_parser = NonEmptyStringValueParser::new())]
        by: Option<String>,
        /// Another text.
        #[arg(long, value_parser = NonEmptyStringValueParser::new())]
        text: Option<String>,
        /// Of the text that was read, as `outbox show` tells it: another text is not approved.
        #[arg(long, value_name = "HEX")]
        fingerprint: Option<String>,
    },
    /// Keep a draft from going out; of one that needs a person (`human`): it is not there, and need not be.
    Reject {
        /// Its id.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        id: String,
        /// Who rejects: a reviewing team, where the rule names some.
        #[arg(long = "as", value_name = "TEAM", value_parser = NonEmptyStringValueParser::new())]
        by: Option<String>,
        /// Why.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Try a dead or uncertain action again.
    Retry {
        /// Its id.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        id: String,
        /// Who writes the other text: a reviewing team, where the rule names some.
        #[arg(long = "as", value_name = "TEAM", value_parser = NonEmptyStringValueParser::new(), requires = "text")]
        by: Option<String>,
        /// Another text, where the network did not take this one.
        #[arg(long, value_parser = NonEmptyStringValueParser::new())]
        text: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
enum DeadCommand {
    /// Dead letters.
    List {
        #[command(flatten)]
        list: ListArgs,
        /// Of one plugin only, by its name in the configuration.
        #[arg(long)]
        plugin: Option<String>,
    },
    /// One dead letter.
    Show {
        /// Its id.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        id: String,
        /// Write what is kept of the bytes that it is about instead, as they were received: `--raw > FILE`.
        #[arg(long)]
        raw: bool,
    },
    /// Put it back on its way; or, with --all, every one of them.
    Redrive {
        /// Its id.
        #[arg(value_parser = NonEmptyStringValueParser::new(), required_unless_present = "all", conflicts_with = "all")]
        id: Option<String>,
        /// All dead letters.
        #[arg(long)]
        all: bool,
        /// Of these, those of one plugin, by its name in the configuration.
        #[arg(long, requires = "all")]
        plugin: Option<String>,
        /// Of these, those of one channel.
        #[arg(long, requires = "all")]
        channel: Option<String>,
    },
}

/// For work on files that is under way when all else has ended.
const LATE_MAX: std::time::Duration = std::time::Duration::from_secs(5);

/// Runs the command that the arguments name; the host, where it is told to run, on this clock.
pub fn run(clock: Clock) -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return outcome::report_usage(error, std::env::args_os().any(|word| word == "--json")),
    };
    if let Command::CompileComponent { memory_bytes, cpu_s } = cli.command {
        return plugins::compile(memory_bytes, cpu_s);
    }
    outcome::set_up_log(matches!(cli.command, Command::Run));
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return outcome::report(&Failure::failed(format!("cannot start: {error}"), ""), cli.json),
    };
    let is_json = cli.json;
    let done = runtime.block_on(dispatch(cli, clock)).and_then(|()| outcome::flush());
    // A backup or a verification that somebody else ordered is cut off; it leaves nothing that is taken for one.
    runtime.shutdown_timeout(LATE_MAX);
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => outcome::report(&failure, is_json),
    }
}

async fn dispatch(cli: Cli, clock: Clock) -> Result<(), Failure> {
    let (file, is_json) = (cli.config, cli.json);
    match cli.command {
        #[cfg(feature = "demo")]
        Command::Demo { once } => demo::run(once).await,
        #[cfg(feature = "bench")]
        Command::Bench { name, dir } => bench::run(name.as_deref(), &dir, is_json).await,
        Command::Init => host::init(&file, is_json),
        Command::Check => host::check(&file, is_json, clock).await,
        Command::Run => host::run(&file, clock).await,
        Command::Channel(ChannelCommand::Login { name, credential, no_browser, port }) => {
            let wish = login::Wish { channel: name, credential, opens_browser: !no_browser, port: port.unwrap_or(0) };
            login::run(&file, is_json, wish).await
        }
        Command::Backtest { name, candidate, channel, since, limit } => {
            backtest::run(&file, is_json, backtest::Wish { name, candidate, channel, since, limit }).await
        }
        Command::Swap { name, file: build, reason, another, shadow: Some(length), promote_if, .. } => {
            let bytes = bytes::Bytes::from_owner(things::build(&build)?);
            shadow::run(&file, is_json, shadow::Wish { name, file: bytes, length, promote_if, reason, another }).await
        }
        Command::Backup { folder } => backup::make(&file, is_json, &folder).await,
        Command::Restore { folder } => backup::restore(&file, is_json, &folder, clock).await,
        Command::Plugin(PluginCommand::Build { dir, output }) => plugins::build(&dir, output.as_deref(), is_json),
        Command::Plugin(PluginCommand::Inspect { plugin }) => plugins::inspect(&file, &plugin, is_json),
        Command::Plugin(PluginCommand::List { limit }) => plugins::list(&file, is_json, limit).await,
        other => things::call(&file, is_json, other).await,
    }
}
