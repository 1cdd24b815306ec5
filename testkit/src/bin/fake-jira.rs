//! A Jira for trying Faultline by hand: issues can be seen and resolved in a browser.

#![expect(clippy::print_stdout, reason = "it says where it listens")]

use std::time::Duration;

use clap::Parser;
use faultline_testkit::jira::{Jira, Settings, Webhook};

/// A fake Jira. It keeps everything in memory.
#[derive(Parser)]
struct Arguments {
    /// The address to bind.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: String,
    /// A project that is there; may be given more than once.
    #[arg(long = "project", default_value = "OPS")]
    projects: Vec<String>,
    /// How much later than the issue itself a search sees a change: 1s, 500ms.
    #[arg(long, default_value = "1s", value_parser = duration)]
    search_lag: Duration,
    /// Answers as Jira Data Center instead of Jira Cloud.
    #[arg(long)]
    data_center: bool,
    /// Shows the names of statuses and transitions in German.
    #[arg(long)]
    german: bool,
    /// Who signs in (Cloud).
    #[arg(long, default_value = "bot@example.com")]
    email: String,
    /// The API token, or the personal access token of Data Center.
    #[arg(long, default_value = "secret-token")]
    token: String,
    /// Where changes are told.
    #[arg(long)]
    webhook_url: Option<String>,
    /// Signs what webhooks send.
    #[arg(long, requires = "webhook_url")]
    webhook_secret: Option<String>,
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration: jiff::SignedDuration =
        text.parse().map_err(|error: jiff::Error| error.to_string())?;
    Duration::try_from(duration).map_err(|error| error.to_string())
}

impl Arguments {
    fn settings(self) -> Settings {
        let deployed = if self.data_center { Settings::data_center() } else { Settings::cloud() };
        let spoken = if self.german { deployed.in_german() } else { deployed };
        let mut settings = Settings {
            listen: self.listen,
            email: self.email,
            token: self.token,
            search_lag: self.search_lag,
            webhook: self.webhook_url.map(|url| Webhook { url, secret: self.webhook_secret }),
            recorded_requests: 0,
            has_control: true,
            projects: Vec::new(),
            ..spoken
        };
        for project in &self.projects {
            settings = settings.with_project(project);
        }
        settings
    }
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let jira = Jira::start(Arguments::parse().settings()).await;
    println!("A fake Jira listens at {}/", jira.url());
    tokio::signal::ctrl_c().await
}
