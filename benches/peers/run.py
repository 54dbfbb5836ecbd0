#!/usr/bin/env python3
"""Other detectors on the runs that `vitalguard bench --peers` wrote.

Same recordings, same injections, sentinels already removed. Missing values are filled forward for at most 60 s. Every detector is
fitted on patients that are neither calibrated nor judged on, its threshold is the lowest one that keeps false episodes on the
calibration patients within the budget, and events are counted by the rule of the benchmark: an episode (exceedances up to 300 s
apart) that starts within [start, end + 60 s] and that the clean twin does not explain by one of its own there, at most 300 s away. No
detector sees an attack in training and none is given who sent a message.

    run.py FOLDER --out FILE.json
"""

import argparse
import copy
import csv
import importlib.metadata
import json
import math
import sys
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np

GAP_S = 300.0
TAIL_S = 60.0
FILL_S = 60.0
BUDGETS = (0.1, 1.0, 5.0)
SEED = 20070225
FIT_ROWS = 20_000
# Rows that a fit needs at least.
FIT_ROWS_MIN = 500

# Outlier limits of MIMIC-Extract's variable_ranges.csv; absent ones have none.
RANGES = {
    "hr": (0, 390), "pr": (0, 390), "spo2": (0, 150), "rr": (0, 330), "awrr": (0, 330), "temp": (14.2, 47),
    "abp_sys": (0, 375), "abp_dia": (0, 375), "abp_mean": (0, 375),
    "nibp_sys": (0, 375), "nibp_dia": (0, 375), "nibp_mean": (0, 375),
    "pap_sys": (0, 375), "pap_dia": (0, 375), "pap_mean": (0, 375),
}
# What a bedside monitor's limits often are.
LIMITS = {"hr": (50, 120), "pr": (50, 120), "spo2": (90, 101)}
# For scaling to [0, 1] where a detector wants it.
SCALES = {
    "hr": (0, 250), "pr": (0, 250), "spo2": (0, 100), "rr": (0, 80), "awrr": (0, 80), "etco2": (0, 100), "tcco2": (0, 120), "temp": (25, 45),
}


class Run:
    def __init__(self, meta, folder):
        self.meta = meta
        self.id = str(meta["run"])
        self.columns = meta["columns"]
        with open(folder / meta["file"], newline="") as file:
            rows = list(csv.reader(file))
        body = np.array([[float(x) if x else math.nan for x in row] for row in rows[1:]], dtype=float)
        if body.size == 0:
            body = np.empty((0, 1 + len(self.columns)))
        order = [rows[0].index(c) for c in self.columns]
        self.t = body[:, 0]
        self.x = body[:, order]

    @property
    def clean(self):
        return self.meta["kind"] is None


def filled(t, x):
    """The last value, for at most FILL_S."""
    out = x.copy()
    for c in range(x.shape[1]):
        last, at = math.nan, -math.inf
        for i in range(len(t)):
            if math.isnan(out[i, c]):
                if t[i] - at <= FILL_S:
                    out[i, c] = last
            else:
                last, at = out[i, c], t[i]
    return out


def lagged(t, x, lag_s):
    at = np.searchsorted(t, t - lag_s, side="right") - 1
    ok = at >= 0
    out = np.full_like(x, math.nan)
    out[ok] = x[at[ok]]
    return x - out


def rolling_median(t, x, window_s, step):
    """Median of the last `window_s`, taken at every `step`th row and held: enough for a level."""
    out = np.full_like(x, math.nan)
    for i in range(0, len(t), step):
        lo = np.searchsorted(t, t[i] - window_s)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            out[i : i + step] = np.nanmedian(x[lo : i + 1], axis=0)
    return out


def features(t, x, interval):
    short, long = max(5.0, interval), max(30.0, 3 * interval)
    level = x - rolling_median(t, x, max(300.0, 10 * interval), max(1, int(10 / interval)))
    return np.hstack([x, lagged(t, x, short), lagged(t, x, long), level])


def complete(f):
    return ~np.isnan(f).any(axis=1)


# --- detectors: each gives a score for each row, NaN where it cannot look -------------------------------------------------------


class Binary:
    """Limits: no threshold to choose."""

    fits = False

    def __init__(self, name, limits, note):
        self.name, self.limits, self.note = name, limits, note

    def score(self, model, run, t, x, f, frm):
        bad = np.zeros(len(t))
        for c, column in enumerate(run.columns):
            low, high = self.limits.get(column, (-math.inf, math.inf))
            v = x[:, c]
            bad[(v < low) | (v > high)] = 1.0
        return bad


class Pyod:
    fits = True

    def __init__(self, name):
        self.name, self.note = name, "fit on fit patients; value, change in 5 s and 30 s, distance from the 5-minute median"

    def fit(self, rows):
        from pyod.models.ecod import ECOD
        from pyod.models.hbos import HBOS
        from pyod.models.iforest import IForest

        model = {"IForest": lambda: IForest(random_state=SEED), "HBOS": HBOS, "ECOD": ECOD}[self.name]()
        model.fit(rows)
        return model

    def score(self, model, run, t, x, f, frm):
        out = np.full(len(t), math.nan)
        at = complete(f) & (np.arange(len(t)) >= frm)
        if at.any():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                out[at] = model.decision_function(f[at])
        return out


class Mahalanobis:
    fits = True
    name = "robust Mahalanobis"
    note = "minimum covariance determinant on fit patients"

    def fit(self, rows):
        from sklearn.covariance import MinCovDet

        rng = np.random.default_rng(SEED)
        # A column that never moves has no covariance: a grain of noise.
        rows = rows + rng.normal(0, 1e-3, rows.shape)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return MinCovDet(random_state=SEED).fit(rows[:4000])

    def score(self, model, run, t, x, f, frm):
        out = np.full(len(t), math.nan)
        at = complete(f) & (np.arange(len(t)) >= frm)
        if at.any():
            out[at] = np.log1p(model.mahalanobis(f[at]))
        return out


class HalfSpace:
    """river's half-space trees, one model a bed, on line; every fifth second (said in the note)."""

    fits = False
    online = True
    name = "HalfSpaceTrees"
    note = "per bed, on line, one update in five at 1 s; scaled to [0, 1]"

    def fresh(self):
        from river import anomaly

        return anomaly.HalfSpaceTrees(n_trees=10, height=8, window_size=60, seed=SEED)

    def walk(self, model, run, x, indices, out):
        scales = [SCALES.get(c, (0, 300)) for c in run.columns]
        for i in indices:
            row = {
                c: min(1.0, max(0.0, (x[i, c] - lo) / (hi - lo))) for c, (lo, hi) in enumerate(scales) if not math.isnan(x[i, c])
            }
            if len(row) < len(scales):
                continue
            out[i] = model.score_one(row)
            model.learn_one(row)


class Motif:
    """stumpy: nearest subsequence of the bed's own past (left matrix profile); the closer, the more it is a repetition."""

    fits = False
    note = "AB-join with the bed's own past, mean over parameters, windows with at least 6 changes"
    name = "stumpy AB-join"

    def score(self, model, run, t, x, f, frm):
        import stumpy

        interval = run.meta["interval_s"]
        m = 75 if interval <= 2 else 12
        n = len(t)
        out = np.full(n, math.nan)
        if n < 3 * m:
            return out
        total, count = np.zeros(n), np.zeros(n)
        for c in range(x.shape[1]):
            v = x[:, c].astype(float)
            if np.isnan(v).all():
                continue
            if frm > 0:
                a, b = v[max(0, frm - m + 1) :], v[: max(0, frm - m)]
                if len(a) < m or len(b) < m or np.isnan(b).all():
                    continue
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    profile = stumpy.stump(a, m, b, ignore_trivial=False)
                distance = profile[:, 0].astype(float)
                first = max(0, frm - m + 1)
            else:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    profile = stumpy.stump(v, m)
                left = profile[:, 2].astype(int)
                distance = np.full(len(left), math.nan)
                for i in np.flatnonzero(left >= 0):
                    p, q = v[i : i + m], v[left[i] : left[i] + m]
                    sp, sq = p.std(), q.std()
                    if sp > 0 and sq > 0:
                        d = (p - p.mean()) / sp - (q - q.mean()) / sq
                        distance[i] = math.sqrt(float(d @ d))
                first = 0
            for i, d in enumerate(distance):
                end = first + i + m - 1
                if end >= n or not np.isfinite(d):
                    continue
                w = v[end - m + 1 : end + 1]
                if np.count_nonzero(np.diff(w)) < 6:
                    continue
                total[end] += d
                count[end] += 1
        ok = count > 0
        out[ok] = -total[ok] / count[ok]
        return out


class Discord(Motif):
    """stumpy: a window unlike everything in the bed's own past."""

    note = "left matrix profile, largest over parameters"
    name = "stumpy discord"

    def score(self, model, run, t, x, f, frm):
        return -super().score(model, run, t, x, f, frm)


class Random:
    fits = False
    name = "random score"
    note = "control"

    def score(self, model, run, t, x, f, frm):
        return np.random.default_rng([SEED, int(run.id)]).random(len(t))


class Always:
    fits = False
    name = "always alert"
    note = "control: counts nothing, because its twin alerts as well"

    def score(self, model, run, t, x, f, frm):
        return np.ones(len(t))


# --- episodes, thresholds, events ----------------------------------------------------------------------------------------------


def episodes(times):
    """(first, last) of exceedances up to GAP_S apart."""
    out = []
    for t in times:
        if out and t - out[-1][1] <= GAP_S:
            out[-1][1] = t
        else:
            out.append([t, t])
    return out


def smoothed(score, k):
    if k <= 1:
        return score
    out = score.copy()
    half = [np.roll(score, i) for i in range(k)]
    for i in range(k):
        half[i][:i] = math.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        out = np.nanmedian(np.vstack(half), axis=0)
    return out


def false_rate(runs, scores, threshold):
    count = sum(len(episodes(r.t[scores[r.id] >= threshold])) for r in runs)
    days = sum(r.meta["live_days"] for r in runs)
    return count, days


def choose(runs, scores, budget):
    """The lowest threshold within the budget on these clean runs."""
    values = np.concatenate([scores[r.id][np.isfinite(scores[r.id])] for r in runs] or [np.array([])])
    if values.size == 0:
        return math.inf
    top = float(values.max())
    grid = np.unique(np.quantile(values, 1 - np.geomspace(1e-6, 0.5, 60)))
    best = np.nextafter(top, math.inf)
    for threshold in grid[::-1]:
        count, days = false_rate(runs, scores, threshold)
        if days > 0 and count / days <= budget:
            best = float(threshold)
        else:
            break
    return best


def find(run, twin, score, twin_score, threshold):
    start, end = run.meta["start_s"], run.meta["end_s"] + TAIL_S
    there = episodes(twin.t[twin_score >= threshold])
    hits = np.concatenate([twin.t[(twin_score >= threshold) & (twin.t < start)], run.t[(score >= threshold) & (run.t >= start)]])
    for first, _ in episodes(hits):
        explained = any(a <= min(first + GAP_S, end) and b >= max(first - GAP_S, start) for a, b in there)
        if start <= first <= end and not explained:
            return first - start
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", help="names of detectors, comma-separated")
    args = parser.parse_args()

    metas = [json.loads(line) for line in (args.folder / "runs.jsonl").read_text().splitlines() if line.strip()]
    runs = [Run(m, args.folder) for m in metas]
    by_id = {r.id: r for r in runs}
    clean = [r for r in runs if r.clean]
    attacked = [r for r in runs if not r.clean]
    for r in attacked:
        twin = by_id[str(r.meta["twin"])]
        if len(r.t) and len(twin.t) and r.t[0] > twin.t[0]:
            before = twin.t < r.t[0]
            r.t = np.concatenate([twin.t[before], r.t])
            r.x = np.vstack([twin.x[before], r.x])
    rotations = max((len(r.meta["parts"]) for r in runs), default=0)
    prepared = {}
    for r in runs:
        x = filled(r.t, r.x)
        frm = 0 if r.clean else int(np.searchsorted(r.t, r.meta["start_s"]))
        prepared[r.id] = (x, features(r.t, x, r.meta["interval_s"]) if len(r.t) else x, frm)

    detectors = [
        Binary("range filter", RANGES, "outlier limits of MIMIC-Extract"),
        Binary("monitor-like thresholds", LIMITS, "PR and HR < 50 or > 120, SpO2 < 90"),
        Pyod("IForest"), Pyod("HBOS"), Pyod("ECOD"), Mahalanobis(), HalfSpace(), Motif(), Discord(), Random(), Always(),
    ]
    if args.only:
        detectors = [d for d in detectors if d.name in args.only.split(",")]
    rows = []
    for detector in detectors:
        print(detector.name, file=sys.stderr, flush=True)
        fixed = isinstance(detector, (Binary, Always))
        # Scores by rotation; those without a fit are the same in each.
        per_rotation = []
        base = None
        for rotation in range(rotations):
            if base is None or detector.fits:
                base = score_all(detector, rotation, clean, attacked, prepared)
            per_rotation.append(base)
        for smoothing in ((1,) if fixed else (1, 30)):
            variants = [
                {k: smoothed(v, max(1, int(smoothing / by_id[k].meta["interval_s"]))) for k, v in s.items()} for s in per_rotation
            ]
            for budget in ((None,) if fixed else (*BUDGETS, "oracle")):
                found, delays, n = defaultdict(int), defaultdict(list), defaultdict(int)
                false, days = 0, 0.0
                for rotation in range(rotations):
                    scores = variants[rotation]
                    sets = sorted({r.meta["set"] for r in runs})
                    for name in sets:
                        def part(which, source):
                            return [r for r in source if r.meta["set"] == name and r.meta["parts"][rotation] == which and r.id in scores]

                        judged, calibrate = part("report", clean), part("calibrate", clean)
                        if not judged:
                            continue
                        if fixed:
                            threshold = 0.5
                        elif budget == "oracle":
                            # The most that any threshold without a false alert on the judged beds could find.
                            threshold = choose(judged, scores, 0.0)
                        else:
                            threshold = choose(calibrate, scores, budget)
                        count, live = false_rate(judged, scores, threshold)
                        false, days = false + count, days + live
                        for r in part("report", attacked):
                            twin = by_id[str(r.meta["twin"])]
                            kind = r.meta["kind"]
                            n[kind] += 1
                            if twin.id not in scores:
                                continue
                            delay = find(r, twin, scores[r.id], scores[twin.id], threshold)
                            if delay is not None:
                                found[kind] += 1
                                delays[kind].append(delay)
                total = sum(n.values())
                rows.append({
                    "peer": detector.name,
                    "budget_per_bd": budget,
                    "smoothing_s": smoothing if smoothing > 1 else 0,
                    "false": false,
                    "bed_days": days,
                    "false_per_bd": false / days if days else None,
                    "sensitivity": sum(found.values()) / total if total else None,
                    "by_kind": {
                        k: {"n": n[k], "found": found[k], "median_delay_s": float(np.median(delays[k])) if delays[k] else None}
                        for k in sorted(n)
                    },
                    "note": detector.note,
                })
    # Of the two smoothings the better one stands in the table.
    best = {}
    for row in rows:
        key = (row["peer"], str(row["budget_per_bd"]))
        if key not in best or (row["sensitivity"] or 0) > (best[key]["sensitivity"] or 0):
            best[key] = row
    versions = {p: importlib.metadata.version(p) for p in ("river", "pyod", "stumpy", "scikit-learn", "numpy")}
    args.out.write_text(json.dumps({"versions": versions, "rotations": rotations, "rows": list(best.values())}, indent=1))


def score_all(detector, rotation, clean, attacked, prepared):
    scores = {}
    by_set = defaultdict(list)
    for r in clean:
        by_set[(r.meta["set"], tuple(r.columns))].append(r)
    models = {}
    if detector.fits:
        rng = np.random.default_rng(SEED)
        for key, members in by_set.items():
            parts = [prepared[r.id][1] for r in members if r.meta["parts"][rotation] == "fit"]
            rows = np.vstack([p[complete(p)] for p in parts]) if parts else np.empty((0, 1))
            if len(rows) < FIT_ROWS_MIN:
                continue
            if len(rows) > FIT_ROWS:
                rows = rows[np.sort(rng.choice(len(rows), FIT_ROWS, replace=False))]
            models[key] = detector.fit(rows)
    if getattr(detector, "online", False):
        events = defaultdict(list)
        for r in attacked:
            events[str(r.meta["twin"])].append(r)
        for r in clean:
            step = 5 if r.meta["interval_s"] <= 2 else 1
            model = detector.fresh()
            x = prepared[r.id][0]
            out = np.full(len(r.t), math.nan)
            waiting = sorted(events[r.id], key=lambda e: e.meta["start_s"])
            at = 0
            for event in waiting:
                until = int(np.searchsorted(r.t, event.meta["start_s"]))
                detector.walk(model, r, x, range(at, until, step), out)
                at += len(range(at, until, step)) * step
                own = np.full(len(event.t), math.nan)
                frm = prepared[event.id][2]
                detector.walk(copy.deepcopy(model), event, prepared[event.id][0], range(frm, len(event.t), step), own)
                scores[event.id] = own
            detector.walk(model, r, x, range(at, len(r.t), step), out)
            scores[r.id] = out
        return scores
    for r in clean + attacked:
        key = (r.meta["set"], tuple(r.columns))
        if detector.fits and key not in models:
            continue
        x, f, frm = prepared[r.id]
        scores[r.id] = detector.score(models.get(key), r, r.t, x, f, frm) if len(r.t) else np.array([])
    return scores


if __name__ == "__main__":
    main()
