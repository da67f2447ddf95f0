#include "src/cli/cli.h"

#include "src/admin/control_socket.h"
#include "src/base/version.h"
#include "src/cli/commands.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <unistd.h>
#include <utility>

namespace penstock {
namespace {

constexpr const char* FOOTER =
    "Examples:\n"
    "  penstock serve /srv/www                               serve a directory on http://127.0.0.1:8080/\n"
    "  penstock run -c /etc/penstock.conf                    serve what a configuration says; it is watched\n"
    "  penstock sysctl -a -v                                 every setting with its meaning\n"
    "  penstock sysctl -w cache.size=1g                      change one, live, no connection lost\n"
    "  penstock status                                       what runs, how confined, what went wrong\n"
    "\n"
    "Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.";

// Everything the parser fills in; commands read it after parsing.
struct Arguments {
  std::string control;
  bool json = false;
  ServeArguments serve;
  std::string config_file;
  SysctlArguments sysctl;
  double top_interval = 1;
  uint64_t top_rounds = 0;
  uint64_t cache_count = 20;
  std::string cache_what;
  bool cache_soft = false;
  std::string cache_url;
  std::string stats_view;
  std::string pool;
  std::string older;
  LogConvertArguments log_convert;
  LogFollowArguments log_follow;
};

// A command: its parser, and what to do if it was the one.
using Action = std::function<CliOutcome()>;
struct Bound {
  CLI::App* app;
  Action action;
};

class CommandLine {
 public:
  explicit CommandLine(const CliEnvironment& environment) : app_("penstock: a web server for bare metal", "penstock") {
    default_control_ = args_.control = default_control_path(::geteuid(), environment.xdg_runtime_dir);
    app_.set_version_flag("--version", "penstock " + std::string(version()));
    app_.require_subcommand(1);
    app_.failure_message([](const CLI::App*, const CLI::Error& error) {
      return std::string("penstock: ") + error.what() + " (--help says more)\n";
    });
    app_.option_defaults()->always_capture_default(false);
    with_control(&app_);
    add_servers();
    add_sysctl();
    add_status();
    add_pools();
    add_secure();
    add_cache();
    add_log();
    add_journal();
    add_alarms();
    app_.footer(FOOTER);  // last: commands take over what stands when they are made
  }

  CliOutcome run(int argc, char** argv) {
    std::vector<std::string> words(argv + 1, argv + argc);
    if (!words.empty() && words[0] == "help") {  // help COMMAND is COMMAND --help
      words.erase(words.begin());
      words.emplace_back("--help");
    }
    if (const std::string word = unknown_command(words); !word.empty()) {
      return {cli_fail("there is no command " + cli_clean(word) + " (--help names them)", CLI_USAGE), std::nullopt};
    }
    try {
      std::reverse(words.begin(), words.end());  // as parse() wants them
      app_.parse(words);
    } catch (const CLI::ParseError& error) {
      // --help and --version come as errors with code 0; all else is wrong usage.
      return {app_.exit(error) == 0 ? CLI_OK : CLI_USAGE, std::nullopt};
    }
    for (const Bound& command : commands_) {
      if (command.app->parsed()) return command.action();
    }
    return {CLI_USAGE, std::nullopt};
  }

 private:
  // The first word that stands where a command must and names none; empty where there is none of that kind.
  std::string unknown_command(const std::vector<std::string>& words) {
    CLI::App* at = &app_;
    for (size_t i = 0; i < words.size(); ++i) {
      const std::vector<CLI::App*> commands = at->get_subcommands([](CLI::App*) { return true; });
      if (commands.empty()) break;
      if (words[i] == "--control") {
        ++i;
        continue;
      }
      if (words[i].starts_with("-")) continue;
      const auto named = std::find_if(commands.begin(), commands.end(),
                                      [&](const CLI::App* command) { return command->get_name() == words[i]; });
      if (named == commands.end()) return words[i];
      at = *named;
    }
    return {};
  }

  void with_control(CLI::App* app) {
    app->add_option("--control", args_.control, "Control socket of the instance (default: " + default_control_ + ")");
  }

  CLI::App* add(CLI::App* parent, const char* name, const char* help, Action action) {
    CLI::App* app = parent->add_subcommand(name, help);
    with_control(app);
    commands_.push_back({app, std::move(action)});
    return app;
  }

  // A command that only has an exit code.
  CLI::App* add(CLI::App* parent, const char* name, const char* help, std::function<int()> action) {
    return add(parent, name, help, Action([action = std::move(action)] { return CliOutcome{action(), std::nullopt}; }));
  }

  void with_json(CLI::App* app) { app->add_flag("--json", args_.json, "Print JSON"); }

  void add_servers() {
    CLI::App* serve = add(&app_, "serve", "Serve a directory", Action([this] {
      SupervisorOptions options;
      options.control_path = args_.control;
      const int code = serve_options(args_.serve, options);
      return code == CLI_OK ? CliOutcome{CLI_OK, std::move(options)} : CliOutcome{code, {}};
    }));
    serve->add_option("dir", args_.serve.dir, "Directory to serve")->required();
    serve
        ->add_option("--listen", args_.serve.listen,
                     "ADDR:PORT, [V6]:PORT, unix:/PATH or unix:@NAME (default: 127.0.0.1:8080); may be repeated")
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    add_set(serve);

    CLI::App* run = add(&app_, "run", "Serve what a configuration file says", Action([this] {
      SupervisorOptions options;
      options.control_path = args_.control;
      options.config_file = args_.config_file;
      const int code = overlay_options(args_.serve.set, options);
      return code == CLI_OK ? CliOutcome{CLI_OK, std::move(options)} : CliOutcome{code, {}};
    }));
    run->add_option("-c,--config", args_.config_file, "Configuration file; it is watched and applied when saved")
        ->required();
    add_set(run);

    CLI::App* check = add(&app_, "check", "Check a configuration file and start nothing", std::function<int()>([this] {
      if (args_.config_file.empty()) return cli_fail("check: name a FILE", CLI_USAGE);
      return command_check(args_.config_file);
    }));
    check->add_option("file", args_.config_file, "Configuration file");
    check->add_option("-c,--config", args_.config_file, "The same");
  }

  void add_set(CLI::App* app) {
    app->add_option("--set", args_.serve.set, "KEY=VALUE on top of the configuration; may be repeated")
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  }

  void add_sysctl() {
    CLI::App* app = add(&app_, "sysctl", "Show and change settings of the running instance",
                        std::function<int()>([this] { return command_sysctl(args_.sysctl, args_.control); }));
    app->add_flag("-a,--all", args_.sysctl.all, "Show every setting; the output is itself a configuration file");
    app->add_flag("-v,--verbose", args_.sysctl.verbose, "With meaning, type, range, default and origin of each");
    app->add_flag("-w,--write", args_.sysctl.write, "Change: KEY=VALUE…, all or nothing; KEY= sets the default again");
    app->add_option("-p,--load", args_.sysctl.load_file, "Change: every KEY = VALUE of a file, all or nothing");
    app->add_option("-c,--config", args_.sysctl.offline_file, "Show this file's configuration, not the running one");
    app->add_flag("--defaults", args_.sysctl.defaults, "Show the built-in defaults");
    app->add_option("--if-generation", args_.sysctl.if_generation,
                    "Change only if this is still the generation in force");
    app->add_flag("--json", args_.sysctl.json, "Print JSON");
    app->add_option("words", args_.sysctl.words, "KEY… to show, or KEY=VALUE… with -w");
    app->footer(
        "Examples:\n  penstock sysctl cache.size\n  penstock sysctl -w cache.size=1g limits.head_bytes=32k\n"
        "  penstock sysctl -a > all.conf; penstock sysctl -p all.conf\n\n"
        "Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.");
  }

  void add_status() {
    with_json(add(&app_, "status", "What runs, how it is confined, what went wrong",
                  std::function<int()>([this] { return command_status(args_.control, args_.json); })));
    with_json(add(&app_, "requests", "The requests in flight, from the journal",
                  std::function<int()>([this] { return command_requests(args_.control, args_.json); })));
    CLI::App* stats = add(
        &app_, "stats", "Counters; `stats perf`: their ratios per request",
        std::function<int()>([this] { return command_stats(args_.control, args_.json, args_.stats_view == "perf"); }));
    with_json(stats);
    stats->add_option("view", args_.stats_view, "perf")->check(CLI::IsMember({"perf"}));
    CLI::App* top =
        add(&app_, "top", "Live view of load, cache and requests in flight",
            std::function<int()>([this] { return command_top(args_.control, args_.top_interval, args_.top_rounds); }));
    top->add_option("-d,--delay", args_.top_interval, "Seconds between refreshes")->check(CLI::Range(0.1, 3600.0));
    top->add_option("-n,--rounds", args_.top_rounds, "End after so many refreshes (default: until Ctrl-C)");
    CLI::App* restart = add(
        &app_, "restart-server", "Replace the server process; no connection is lost",
        std::function<int()>([this] { return command_simple(args_.control, "server.restart", "server replaced"); }));
    restart->footer("The new server takes over the listeners first; the old one finishes its requests.");
    CLI::App* features = add(&app_, "features", "What this build contains, and what this machine allows",
                             std::function<int()>([this] { return command_features(args_.json); }));
    with_json(features);
  }

  void add_pools() {
    CLI::App* pool = app_.add_subcommand("pool", "Application pools: list, show, start, stop, recycle");
    pool->require_subcommand(1);
    with_json(add(pool, "list", "All pools: state, workers, what they did",
                  std::function<int()>([this] { return command_pool_list(args_.control, args_.json); })));
    CLI::App* show =
        add(pool, "show", "One pool and its worker processes",
            std::function<int()>([this] { return command_pool_show(args_.control, args_.pool, args_.json); }));
    const std::pair<const char*, const char*> verbs[] = {
        {"start", "Take a pool into service again, with a clean record"},
        {"stop", "Take a pool out of service: 503, and its workers end when they have finished"},
        {"recycle", "Replace all workers of a pool; no request is lost"}};
    with_json(show);
    show->add_option("name", args_.pool, "Pool")->required();
    for (const auto& [verb, help] : verbs) {
      CLI::App* app = add(pool, verb, help, std::function<int()>([this, what = std::string(verb)] {
                            return command_pool_do(args_.control, what, args_.pool, args_.json);
                          }));
      with_json(app);
      app->add_option("name", args_.pool, "Pool")->required();
    }
  }

  void add_secure() {
    CLI::App* secure = app_.add_subcommand("secure", "What a configuration lets processes do");
    secure->require_subcommand(1);
    CLI::App* audit =
        add(secure, "audit", "What each pool may do, and which served paths could be written by who serves them",
            std::function<int()>([this] { return command_secure_audit(args_.config_file, args_.json); }));
    audit->add_option("-c,--config", args_.config_file, "Configuration file")->required();
    with_json(audit);
  }

  void add_cache() {
    CLI::App* cache = app_.add_subcommand("cache", "The response cache: stats, top, why, purge");
    cache->require_subcommand(1);
    with_json(add(cache, "stats", "Size, hits, misses, evictions; what each site has in it",
                  std::function<int()>([this] { return command_cache_stats(args_.control, args_.json); })));
    CLI::App* top =
        add(cache, "top", "The entries with most hits",
            std::function<int()>([this] { return command_cache_top(args_.control, args_.cache_count, args_.json); }));
    with_json(top);
    top->add_option("n", args_.cache_count, "How many (default 20)")->check(CLI::Range(1, 1000));
    CLI::App* why =
        add(cache, "why", "Is this URL cached, and if not, why not?",
            std::function<int()>([this] { return command_cache_why(args_.control, args_.cache_url, args_.json); }));
    with_json(why);
    why->add_option("url", args_.cache_url, "http://HOST/PATH or HOST/PATH")->required();
    CLI::App* purge = add(cache, "purge", "Drop entries", std::function<int()>([this] {
                            return command_cache_purge(args_.control, args_.cache_what, args_.cache_soft, args_.json);
                          }));
    with_json(purge);
    purge->add_flag("--soft", args_.cache_soft,
                    "End their lifetime: what has a grace answers while it is fetched anew");
    purge->add_option("what", args_.cache_what, "A URL, a URL prefix ending in *, tag:NAME, or all")->required();
    purge->footer(
        "Examples:\n  penstock cache purge http://docs.example/news.html\n"
        "  penstock cache purge 'http://docs.example/news/*'\n  penstock cache purge all");
  }

  void add_journal() {
    CLI::App* journal = app_.add_subcommand("journal", "The journal: which requests were inside a process that died");
    journal->require_subcommand(1);
    CLI::App* killers =
        add(journal, "killers", "Ends that should not have been, newest first, with the requests inside",
            std::function<int()>([this] { return command_journal_killers(args_.control, args_.pool, args_.json); }));
    with_json(killers);
    killers->add_option("pool", args_.pool, "Only this pool's workers");
  }

  void add_alarms() {
    CLI::App* alarm = app_.add_subcommand("alarm", "What workers tried that they must not do, and what they run");
    alarm->require_subcommand(1);
    CLI::App* list =
        add(alarm, "list", "Attempts by kind, the last first, with the requests that were inside",
            std::function<int()>([this] { return command_alarm_list(args_.control, args_.pool, args_.json); }));
    CLI::App* programs =
        add(alarm, "programs", "Programs that workers run and have run, with user, path, request and end",
            std::function<int()>([this] { return command_alarm_programs(args_.control, args_.pool, args_.json); }));
    CLI::App* running =
        add(alarm, "running", "Programs and requests that have run for long",
            std::function<int()>([this] { return command_alarm_running(args_.control, args_.older, args_.json); }));
    CLI::App* test =
        add(alarm, "test", "Let a process in a pool's sandbox try a forbidden start, and see that the alarm comes",
            std::function<int()>([this] { return command_alarm_test(args_.control, args_.pool, args_.json); }));
    for (CLI::App* app : {list, programs, running, test}) with_json(app);
    for (CLI::App* app : {list, programs}) app->add_option("pool", args_.pool, "Only this pool's");
    test->add_option("pool", args_.pool, "Which pool (default: any)");
    running->add_option("--older", args_.older, "At least so old, as 30s or 5m (default: alarm.request_age)");
  }

  void add_log() {
    CLI::App* log = app_.add_subcommand("log", "The access log: follow, rotate, convert");
    log->require_subcommand(1);
    add(log, "rotate", "Close the log files, rename them, open new ones",
        std::function<int()>([this] { return command_simple(args_.control, "log.rotate", "rotated"); }));
    LogFollowArguments& followed = args_.log_follow;
    CLI::App* follow =
        add(log, "follow", "Requests as they finish, whatever the log writes",
            std::function<int()>([this] { return command_log_follow(args_.control, args_.log_follow); }));
    follow
        ->add_option("--where", followed.where,
                     "FIELD OP VALUE with = != < <= > >= ^= *=, as in status>=500; all must hold")
        ->allow_extra_args(false);
    follow->add_option("--format", followed.format, "Form of the lines (default: w3c)")
        ->check(CLI::IsMember({"w3c", "ncsa", "json"}));
    follow->add_option("--fields", followed.fields, "Fields as in log.access.fields (default: its default)")
        ->delimiter(',');
    follow->add_flag("--local", followed.local_time, "Times in local time, not UTC");
    follow->footer("Example:\n  penstock log follow --where 'status>=500' --format json");
    LogConvertArguments& arguments = args_.log_convert;
    CLI::App* convert = log->add_subcommand("convert", "Binary access logs to lines, on stdout");
    commands_.push_back({convert, [this] { return CliOutcome{command_log_convert(args_.log_convert), std::nullopt}; }});
    convert->add_option("files", arguments.files, "Files of one log, oldest first")->required();
    convert->add_option("--to", arguments.to, "w3c (default), ncsa or json")
        ->check(CLI::IsMember({"w3c", "ncsa", "json"}));
    convert->add_option("--by", arguments.by, "Order of the lines: file (default), start or finish")
        ->check(CLI::IsMember({"file", "start", "finish"}));
    convert->add_option("--fields", arguments.fields, "Fields as in log.access.fields (default: its default)")
        ->delimiter(',');
    convert->add_flag("--local", arguments.local_time, "Times in local time, not UTC");
    convert->footer("Example:\n  penstock log convert --to json --by start access.log.1 access.log");
  }

  Arguments args_;
  std::string default_control_;
  CLI::App app_;
  std::vector<Bound> commands_;
};

}  // namespace

CliOutcome run_cli(int argc, char** argv, const CliEnvironment& environment) {
  return CommandLine(environment).run(argc, argv);
}

}  // namespace penstock
