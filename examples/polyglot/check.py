"""Asks the gateway of the polyglot example and holds every answer against what four languages should make of it.

    python3 check.py [URL]          the URL is http://127.0.0.1:8080 unless it is given
"""

import concurrent.futures
import json
import sys
import urllib.error
import urllib.request

URL = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8080"
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
WANTED = {
    "lisbon": (19, "See the tram 28 first, then the castle and the river."),
    "oslo": (10, "See the opera first, then the fjord."),
    "singapore": (33, "See the gardens first, then the markets and the bay."),
}


def ask(path):
    request = urllib.request.Request(URL + path, headers={"x-request-id": "polyglot" + path.replace("/", "-")})
    try:
        with DIRECT.open(request, timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError as error:
        return 0, str(error).encode()


def check(path, status, body):
    """Returns what is wrong, or nothing."""
    got_status, got = ask(path)
    if got_status == status and (body is None or json.loads(got) == body):
        return None
    return f"GET {path}: {got_status} {got[:300].decode(errors='replace').strip()}; wanted {status} {body or ''}"


def trip(city):
    celsius, advice = WANTED[city]
    weather, guide = {"celsius": celsius, "by": "go"}, {"advice": advice, "by": "python"}
    return f"/trips/{city}", 200, {"city": city, "weather": weather, "guide": guide, "by": "node"}


questions = [trip(city) for city in WANTED] * 20
questions += [("/trips/atlantis", 404, None), ("/places/lisbon", 404, None), ("/weather/oslo", 404, None)]
with concurrent.futures.ThreadPoolExecutor(8) as customers:
    wrong = [what for what in customers.map(lambda question: check(*question), questions) if what]
print("\n".join(wrong + [f"{len(questions)} answers, {len(wrong)} unexpected"]))
sys.exit(1 if wrong else 0)
