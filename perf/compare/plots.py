"""The plots of a report: dots for medians, lines from the smallest to the largest round."""
from statistics import median

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

import report

COLOURS = {"penstock": "#1f6f8b", "penstock-epoll": "#62b6d1", "floor": "#6f6a5f", "floor-epoll": "#b3ad9f", "h2o": "#c98a1b", "nginx": "#3d8b45",
           "penstock-native": "#1f6f8b", "penstock-wsgi": "#1f6f8b", "penstock-php": "#1f6f8b", "penstock-file": "#62b6d1", "penstock-hung": "#8a5a9e",
           "penstock-memif": "#8a3b6a", "penstock-vhost": "#c07aa3", "penstock-tap": "#e0b7cf", "reflector-memif": "#6f6a5f",
           "nginx-fastcgi": "#3d8b45", "nginx-uwsgi": "#3d8b45", "nginx-php-fpm": "#3d8b45", "nginx-gunicorn": "#c98a1b"}
LABELS = {"penstock-memif": "penstock, memif", "penstock-vhost": "penstock, vhost-user", "penstock-tap": "penstock, tap", "reflector-memif": "reflector, memif",
          "penstock-native": "penstock, pool", "penstock-wsgi": "penstock, pool", "penstock-php": "penstock, pool", "penstock-file": "penstock, file",
          "penstock-hung": "penstock, file beside a hung pool", "nginx-fastcgi": "nginx → FastCGI, uWSGI", "nginx-uwsgi": "nginx → FastCGI, uWSGI",
          "nginx-php-fpm": "nginx → FastCGI, uWSGI", "nginx-gunicorn": "nginx → gunicorn"}
STYLE = {"svg.hashsalt": "penstock", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 10,
         "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False}


def rows(data, names, draw, axes):
    """One row a scenario, one slightly shifted line a server."""
    scenarios = list(data["scenarios"].values())
    for index, scenario in enumerate(scenarios):
        present = [name for name in names if name in scenario["turns"]]
        for place, name in enumerate(present):
            y = index + (place - (len(present) - 1) / 2) * 0.17
            draw(axes, scenario["turns"], name, y)
        if index % 2:
            axes.axhspan(index - 0.5, index + 0.5, color="#f4f2ec", zorder=0)
    axes.set_yticks(range(len(scenarios)), [s["what"] for s in scenarios])
    axes.set_ylim(len(scenarios) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.set_xscale("log")


def legend(axes, names):
    entries = {LABELS.get(name, name): COLOURS[name] for name in names}
    for label, colour in entries.items():
        axes.plot([], [], "o-", color=colour, label=label)
    axes.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=len(entries), frameon=False)


def save(figure, path):
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    path.write_text("\n".join(line.rstrip() for line in path.read_text().splitlines()) + "\n")


def whisker(axes, numbers, y, colour):
    axes.plot([min(numbers), max(numbers)], [y, y], "-", color=colour, linewidth=2, alpha=0.55, zorder=2)
    axes.plot([median(numbers)], [y], "o", color=colour, markersize=5.5, zorder=3)


def ratios(data, path, names=None):
    """To nginx; where `names` are given, to the second server of each scenario."""
    label, own_names = ("nginx's" if names is None else "the peer's"), names
    names = names or [n for n in report.server_names(data) if n != report.PEER]
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(8, 0.55 * len(data["scenarios"]) + 1))

        def draw(axes, turns, name, y):
            peer = report.PEER if own_names is None else list(turns)[1]
            numbers = report.ratios(turns, name, peer) if name != peer else []
            if numbers:
                whisker(axes, numbers, y, COLOURS[name])
        rows(data, names, draw, axes)
        axes.axvline(1, color=COLOURS["nginx"], linewidth=1.2, zorder=1)
        ticks = [0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4, 6, 8, 12]
        low, high = axes.get_xlim()
        axes.xaxis.set_major_locator(FixedLocator([t for t in ticks if low <= t <= high]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter("{x:g} ×")
        axes.set_xlabel(f"requests per CPU-second, as a multiple of {label} (the green line)")
        legend(axes, names)
        save(figure, path)


def rates(data, path, names):
    """As they are: where some scenarios have no peer."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(8, 0.55 * len(data["scenarios"]) + 1))
        rows(data, names, lambda axes, turns, name, y: whisker(axes, report.values(turns[name]), y, COLOURS[name]), axes)
        axes.xaxis.set_major_formatter(lambda x, _: report.thousands(x))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("requests per second of CPU time")
        legend(axes, names)
        save(figure, path)


def latency(data, path, names=None):
    names = names or report.server_names(data)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(8, 0.7 * len(data["scenarios"]) + 1))

        def draw(axes, turns, name, y):
            points = [median(t["latency_us"][p] for t in turns[name]) for p in ("p50", "p99")]
            axes.plot(points, [y, y], "-", color=COLOURS[name], linewidth=2, alpha=0.55, zorder=2)
            axes.plot(points[:1], [y], "o", color=COLOURS[name], markersize=5.5, zorder=3)
            axes.plot(points[1:], [y], "|", color=COLOURS[name], markersize=9, markeredgewidth=2, zorder=3)
        rows(data, names, draw, axes)
        axes.xaxis.set_major_formatter(lambda x, _: f"{x / 1000:g} ms" if x >= 1000 else f"{x:g} µs")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("latency under full load: median (dot) to 99th percentile (bar)")
        legend(axes, names)
        save(figure, path)
