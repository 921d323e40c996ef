"""Atari through our interface: each trap of the 100k protocol, and Gymnasium's preprocessing as the oracle."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from muzero_wm import envs
from muzero_wm.cli import main as cli
from muzero_wm.config import presets
from muzero_wm.envs.adapters.atari import AtariEnv, games, gymnasium_name, make_atari
from muzero_wm.envs.base import BatchedEnv, Step
from muzero_wm.envs.checking.check import check_env
from muzero_wm.envs.naming.guess import unlike_the_protocol
from muzero_wm.envs.naming.naming import parse_name, with_options
from muzero_wm.envs.registry import as_evaluated, full_name
from muzero_wm.envs.slots.single import Moment
from muzero_wm.envs.translate import Translator

ale_py = pytest.importorskip("ale_py", reason="the games of Atari (extra: atari)")
cv2 = pytest.importorskip("cv2", reason="OpenCV (extra: atari)")

STEP = ("observation", "reward", "terminated", "truncated", "final_observation")


def atari(name: str) -> AtariEnv:
    return make_atari(parse_name(f"ale:{name}"))


def moves(count: int, actions: int, seed: int) -> list[int]:
    """Returns random actions that are kept up for some steps, so that a game gets on."""
    rng = np.random.default_rng(seed)
    return np.repeat(rng.integers(actions, size=count), rng.integers(1, 6, size=count))[:count].tolist()


def trace(env: AtariEnv, actions: list[int]) -> list[Moment]:
    return [env.step(action) for action in actions]


def assert_same(first: list[Moment], second: list[Moment]) -> None:
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.observation, other.observation)
        assert (one.reward, one.terminated, one.truncated) == (other.reward, other.terminated, other.truncated)


def preprocessed(game: str, **options: Any) -> Any:
    """Returns what Gymnasium makes of a game, with the options of the protocol."""
    import gymnasium
    from gymnasium.wrappers import AtariPreprocessing

    gymnasium.register_envs(ale_py)
    plain = gymnasium.make(f"ALE/{game}-v5", frameskip=1, repeat_action_probability=0.0)
    return AtariPreprocessing(plain, **{"screen_size": 96, **options})


def one_lost_life(env: AtariEnv, seed: int, limit: int = 3000) -> Moment:
    """Plays until a life is lost; returns the last moment."""
    for action in moves(limit, env.spec.num_actions, seed):
        moment = env.step(action)
        if moment.terminated:
            return moment
    raise AssertionError("no life was lost")


@pytest.mark.parametrize("game", ["Breakout", "Pong", "MsPacman", "Qbert", "PrivateEye"])
def test_a_game_is_what_gymnasium_s_preprocessing_shows(game: str, seed: int) -> None:
    """No-ops, four frames a step, the maximum of two, grey, area: the same pixels, rewards and ends."""
    theirs, ours = preprocessed(game), atari(f"{game}(life_loss=false)")
    other = atari(f"{game}(life_loss=false)")
    trace(other, moves(50, other.spec.num_actions, seed + 1))  # whatever was played before
    for env, reset_seed in ((ours, seed), (other, seed + 1), (ours, seed + 2)):
        shown, _ = theirs.reset(seed=reset_seed)
        np.testing.assert_array_equal(env.new_game(reset_seed).observation[0], shown)
        for action in moves(300, env.spec.num_actions, reset_seed):
            shown, reward, terminated, truncated, _ = theirs.step(action)
            moment = env.step(action)
            assert (moment.reward, moment.terminated, moment.truncated) == (reward, terminated, truncated)
            if terminated or truncated:
                break  # theirs shows a picture of before where a game ends within a step
            np.testing.assert_array_equal(moment.observation[0], shown)


@pytest.mark.parametrize("game", ["breakout", "qbert"])
def test_a_game_and_its_lives_are_what_ale_py_s_vector_environment_shows(game: str, seed: int) -> None:
    """Asked for the convention of the protocol; its no-ops are drawn in another way, so there are none."""
    from ale_py.vector_env import AtariVectorEnv

    theirs = AtariVectorEnv(
        game, 1, num_threads=1, img_height=96, img_width=96, noop_max=0, life_loss_info=True, reward_clipping=False,
        use_fire_reset=False, autoreset_mode="SameStep",
    )  # fmt: skip
    ours = atari(f"{game}(noop_max=0)")
    shown, _ = theirs.reset(seed=seed)
    np.testing.assert_array_equal(ours.reset(seed).observation[0], shown[0, -1])
    ends = 0
    for action in moves(2000, ours.spec.num_actions, seed):
        shown, reward, terminated, truncated, _ = theirs.step(np.array([action]))
        moment = ours.step(action)
        assert (moment.reward, moment.terminated, moment.truncated) == (reward[0], terminated[0], truncated[0])
        if moment.terminated:
            ends += 1
            if ours.emulator.game_over():
                break
            moment = ours.reset(seed)
        np.testing.assert_array_equal(moment.observation[0], shown[0, -1])
    assert ours.emulator.game_over() and ends == {"breakout": 5, "qbert": 4}[game]


def test_colours_and_sizes_are_gymnasium_s_too(seed: int) -> None:
    theirs = preprocessed("Breakout", screen_size=84, grayscale_obs=False, frame_skip=3, noop_max=7)
    ours = atari("breakout(size=84, grey=False, frame_skip=3, noop_max=7, life_loss=false)")
    assert ours.spec.observation_shape == (3, 84, 84) and ours.spec.max_episode_steps == 36000
    shown, _ = theirs.reset(seed=seed)
    np.testing.assert_array_equal(ours.reset(seed).observation.transpose(1, 2, 0), shown)
    for action in moves(100, 4, seed):
        np.testing.assert_array_equal(ours.step(action).observation.transpose(1, 2, 0), theirs.step(action)[0])


def test_the_maximum_is_taken_of_the_last_two_frames(seed: int) -> None:
    """Against the emulator by hand; in Pong the ball is seen in one frame of two."""
    ours, ale = atari("pong"), ale_py.ALEInterface()
    ale.setFloat("repeat_action_probability", 0.0)
    ale.loadROM(ale_py.roms.get_rom_path("pong"))
    ale.reset_game()
    ours.reset(seed)
    ale.restoreSystemState(ours.emulator.cloneSystemState())
    differed = 0
    for action in moves(200, 6, seed):
        frames = []
        for _ in range(4):
            ale.act(ale.getMinimalActionSet()[action])
            frames.append(ale.getScreenGrayscale())
        wanted = cv2.resize(np.maximum(*frames[2:]), (96, 96), interpolation=cv2.INTER_AREA)
        np.testing.assert_array_equal(ours.step(action).observation[0], wanted)
        differed += (frames[2] != frames[3]).any()
    assert differed > 50


def test_a_step_is_four_frames_and_no_more(seed: int) -> None:
    env = atari("pong")
    env.reset(seed)
    before = env.emulator.getEpisodeFrameNumber()
    trace(env, [0] * 10)
    assert env.emulator.getEpisodeFrameNumber() - before == 40
    assert env._frames == env.emulator.getEpisodeFrameNumber()  # no-ops count


def test_actions_do_not_stick_unless_they_are_asked_to(seed: int) -> None:
    """With sticky=1 the action of the frame before is played for ever, which is the no-op before the first."""
    actions = [2, 3, 1] * 20  # another one in every step, so that most of what sticks shows
    plain, again, sticky, stuck = (atari(f"breakout{o}") for o in ("", "", "(sticky=0.25)", "(sticky=1)"))
    shown = {}
    for key, env, played in (
        ("plain", plain, actions), ("again", again, actions), ("sticky", sticky, actions),
        ("stuck", stuck, actions), ("noop", plain, [0] * 60),
    ):  # fmt: skip
        env.new_game(seed)
        shown[key] = trace(env, played)
    assert_same(shown["plain"], shown["again"])
    assert_same(shown["stuck"], shown["noop"])
    assert any((a.observation != b.observation).any() for a, b in zip(shown["plain"], shown["sticky"], strict=True))
    sticky.new_game(seed)
    assert_same(trace(sticky, actions), shown["sticky"])
    assert sticky.stir(seed + 1) and not plain.stir(seed + 1)


def test_how_often_actions_stick(seed: int) -> None:
    env = atari("breakout(sticky=0.25)")
    env.new_game(seed)
    held = []
    for frames in range(0, 8000, 4):
        env._frames = frames
        held += env._held_frames()
    assert abs(np.mean(held) - 0.25) < 4 * (0.25 * 0.75 / len(held)) ** 0.5


def test_a_life_lost_ends_an_episode_and_the_next_goes_on_in_the_game(seed: int) -> None:
    env = envs.make("ale:Breakout", 1, seed)
    (stacked,) = env.envs
    game = stacked._env
    step = env.reset()
    lives = [game.emulator.lives()]
    for _ in range(3000):
        if len(lives) == 12:
            break
        frames = game._frames
        step = env.step(np.array([1]) if game._frames % 20 < 4 else np.array([0]))
        if not step.terminated[0]:
            assert game.emulator.lives() == lives[-1]
            continue
        lives.append(game.emulator.lives())
        # the stack begins anew, with what the old episode showed last or with a new game
        np.testing.assert_array_equal(step.observation[0], np.repeat(step.observation[0, :1], 4, axis=0))
        if lives[-1] == 5:
            assert game._frames <= 30
        else:
            assert frames < game._frames <= frames + 4  # not even one frame was played in between
            np.testing.assert_array_equal(step.observation[0, 0], step.final_observation[0, -1])
    assert lives == [5, 4, 3, 2, 1, 5, 4, 3, 2, 1, 5, 4]


def test_life_loss_changes_where_episodes_end_and_nothing_else(seed: int) -> None:
    lives, whole = atari("breakout"), atari("breakout(life_loss=false)")
    lives.reset(seed), whole.reset(seed)
    ends = 0
    for action in moves(2000, 4, seed):
        one, other = lives.step(action), whole.step(action)
        np.testing.assert_array_equal(one.observation, other.observation)
        assert one.reward == other.reward
        if other.terminated:
            assert one.terminated and ends == 4
            break
        if one.terminated:
            ends += 1
            np.testing.assert_array_equal(lives.reset(seed + ends).observation, one.observation)
    assert ends == 4 and other.terminated


def test_a_game_begins_anew_mid_life_where_it_is_asked_to(seed: int) -> None:
    env = atari("breakout")
    first = env.reset(seed).observation
    one_lost_life(env, seed)
    assert env.emulator.lives() == 4
    np.testing.assert_array_equal(env.new_game(seed).observation, first)
    assert env.emulator.lives() == 5
    env.step(1)
    env.reset(seed)  # in the middle of an episode nothing goes on
    assert env.emulator.lives() == 5 and env._frames <= 30


def test_no_ops_follow_from_the_seed(seed: int) -> None:
    env = atari("pong")

    def noops(reset_seed: int) -> int:
        env.new_game(reset_seed)
        return env._frames

    counts = [noops(seed + k) for k in range(300)]
    assert counts == [noops(seed + k) for k in range(300)]
    assert set(counts) <= set(range(1, 31)) and len(set(counts)) > 25
    none = atari("pong(noop_max=0)")
    assert none.new_game(seed).observation.tobytes() == none.new_game(seed + 1).observation.tobytes()
    assert none._frames == 0


def test_rewards_are_raw() -> None:
    """A ghost or a fruit of MsPacman is worth more than one."""
    env = envs.make("ale:MsPacman", 2)
    env.reset()
    rewards = [env.step(np.array([a, a])).reward for a in moves(150, 9, 0)]
    assert np.max(rewards) >= 10


def test_a_long_game_is_cut(seed: int) -> None:
    """Nobody serves in Breakout, so a game goes on for ever."""
    env = envs.make("ale:breakout(max_frames=100)", 2, seed)
    assert env.spec.max_episode_steps == 25
    assert envs.spec("ale:breakout").max_episode_steps == 27000
    env.reset()
    lengths, length = [], np.zeros(2, int)
    for _ in range(60):
        step = env.step(np.zeros(2, int))
        length += 1
        assert not step.terminated.any()
        lengths += length[step.truncated].tolist()
        length[step.truncated] = 0
        for row in np.flatnonzero(step.truncated):
            assert step.final_observation[row].any()
            assert env.envs[row]._env._frames <= 30  # a new game has begun
    assert len(lengths) >= 4 and 18 <= min(lengths) <= max(lengths) <= 25


def test_a_cut_counts_over_the_lives_of_a_game(seed: int) -> None:
    env = atari("breakout(max_frames=400)")
    env.reset(seed)
    ends, steps = [], 0
    while not ends or not ends[-1].truncated:
        steps += 1
        assert steps < 100
        moment = env.step(1 if steps % 5 == 0 else 0)
        if moment.terminated:
            ends.append(moment)
            env.reset(seed)
        elif moment.truncated:
            ends.append(moment)
    assert len(ends) > 1 and env._frames == 400 and 92 <= steps <= 100


@pytest.mark.parametrize("name", ["Breakout", "Pong", "breakout(sticky=0.25)"])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_snapshot_in_the_middle_of_a_game_goes_on_exactly(name: str, workers: int, seed: int) -> None:
    def play(env: BatchedEnv, steps: int, first: int) -> list[Step]:
        rows = [moves(steps, env.spec.num_actions, first + slot) for slot in range(env.num_envs)]
        return [env.step(np.array(column)) for column in zip(*rows, strict=True)]

    env = envs.make(f"ale:{name}", 2, seed)
    env.reset()
    before = play(env, 150, seed)
    snapshot = env.snapshot()
    assert snapshot["state_length"].min() > 5000
    again = envs.make(f"ale:{name}", 2, seed, workers=workers)
    try:
        again.reset()
        play(again, 7, seed)  # an emulator that has played something else
        step, goes_on = again.restore(snapshot)
        assert goes_on.all() and again.not_restored == ""
        np.testing.assert_array_equal(step.observation, before[-1].observation)
        rewards = 0.0
        for one, other in zip(play(env, 300, seed + 9), play(again, 300, seed + 9), strict=True):
            for field in STEP:
                np.testing.assert_array_equal(getattr(one, field), getattr(other, field), field)
            rewards += float(np.abs(one.reward).sum())
        assert rewards > 0 or name != "Pong"  # random play may earn nothing in Breakout
        assert not again.restore(snapshot, keep_episodes=False)[1].any()
        if not workers:
            assert all(slot._env._frames <= 30 for slot in again.envs)
    finally:
        again.close()


def test_a_state_of_something_else_is_not_taken(seed: int) -> None:
    env, other = atari("breakout"), atari("pong")
    shown = env.reset(seed).observation
    state = env.save()
    for bad, problem in (
        (other.save(), "a state of pong and ale-py"),
        (state.replace(ale_py.__version__.encode(), b"0.0.1", 1), "ale-py 0.0.1, here are breakout"),
        (state[:-1], "damaged"),
        (b"{}\n", "no state of an Atari game"),
        (b"\xff", "no state of an Atari game"),
        (b"[1]\nx", "no state of an Atari game"),
    ):
        with pytest.raises(envs.EnvError, match=problem) as caught:
            env.load(bad, shown)
        assert "\n" not in str(caught.value)


def test_a_state_between_two_lives_goes_on_too(seed: int) -> None:
    env, other = atari("breakout"), atari("breakout")
    env.reset(seed)
    last = one_lost_life(env, seed)
    other.load(env.save(), last.observation)
    np.testing.assert_array_equal(env.reset(1).observation, other.reset(1).observation)
    assert_same(trace(env, moves(50, 4, seed)), trace(other, moves(50, 4, seed)))


def test_a_copy_goes_its_own_way(seed: int) -> None:
    env = atari("pong(sticky=0.25)")
    env.reset(seed)
    trace(env, moves(40, 6, seed))
    twin = env.clone()
    there = trace(twin, [2] * 30)
    assert_same(trace(env, [2] * 30), there)
    trace(twin, [3] * 10)
    state = env.save()
    env.load(state, there[-1].observation)
    assert twin.save() != state


def test_results_depend_on_no_number_of_workers(seed: int) -> None:
    kept: list[list[NDArray[Any]]] = []
    for workers in (0, 1, 2):
        env = envs.make("ale:Breakout(size=48)", 3, seed, workers=workers)
        try:
            env.reset()
            steps = [env.step(np.array(moves(3, 4, seed + t))) for t in range(80)]
            kept.append([getattr(step, field) for step in steps for field in STEP])
        finally:
            env.close()
    assert any(step.any() for step in kept[0][2::5])  # lives were lost
    for other in kept[1:]:
        for one, same in zip(kept[0], other, strict=True):
            assert one.dtype == same.dtype and one.tobytes() == same.tobytes()


def test_what_a_model_must_know() -> None:
    spec = envs.spec("ale:Pong")
    assert (spec.observation_shape, spec.observation_dtype, spec.num_actions) == ((4, 96, 96), np.uint8, 6)
    assert (spec.num_players, spec.max_episode_steps, spec.value_bounds) == (1, 27000, None)
    assert spec.observation_bounds == (0.0, 255.0) and spec.problem() is None
    assert envs.spec("ale:pong(full_actions=true)").num_actions == 18
    assert envs.spec("ale:pong(frame_stack=1, grey=false, size=40)").observation_shape == (3, 40, 40)


def test_an_agent_takes_the_frames_that_gymnasium_s_preprocessing_shows(seed: int) -> None:
    """A list of the last four, or as many as there are."""
    spec = envs.spec("ale:Pong")
    theirs = preprocessed("Pong")
    frames = [theirs.reset(seed=seed)[0]]
    env = atari("pong(life_loss=false)")
    stack = [env.reset(seed).observation] * 4
    for action in [0, 2, 3, 2, 2, 3]:
        np.testing.assert_array_equal(Translator(spec).observation(frames[-4:]), np.concatenate(stack[-4:]))
        frames.append(theirs.step(action)[0])
        stack.append(env.step(action).observation)


def test_a_film_shows_the_screen(seed: int) -> None:
    env = envs.make("ale:Pong", 1, seed)
    env.reset()
    assert env.envs[0].render().shape == (210, 160, 3)


def test_evaluation_plays_whole_games() -> None:
    for name, evaluated in (
        ("ale:Pong", "ale:Pong(life_loss=False)"),
        ("ale:Pong(life_loss=true, size=48)", "ale:Pong(life_loss=False, size=48)"),
        ("ale:Pong(frame_stack=2,life_loss=False)", "ale:Pong(frame_stack=2, life_loss=False)"),
    ):
        assert as_evaluated(name) == evaluated
        mine, theirs = envs.spec(name), envs.spec(evaluated)
        for field in ("observation_shape", "observation_dtype", "num_actions", "language", "max_episode_steps"):
            assert getattr(mine, field) == getattr(theirs, field)
    for name in ("connect4", "gym:CartPole-v1(max_episode_steps=5)", "minatar:breakout", "a.b:c"):
        assert as_evaluated(name) == name


def test_every_game_goes_by_two_names() -> None:
    assert len(games()) > 100 and "combat" not in games()
    assert len({gymnasium_name(game).lower() for game in games()}) == len(games())
    for name in ("MsPacman", "ms_pacman", "mspacman", "Ms-Pacman"):
        assert atari(name).game == "ms_pacman"
    assert atari("TicTacToe3D(size=36)").game == "tic_tac_toe_3d"


def test_mode_and_difficulty_reach_the_game(seed: int) -> None:
    easy, hard = atari("pong"), atari("pong(mode=1, difficulty=3)")
    assert (
        hard.emulator.cloneSystemState().getDifficulty() == 3 and hard.emulator.cloneSystemState().getCurrentMode() == 1
    )
    first = [env.reset(seed).observation for env in (easy, hard)]
    hard.step(0)
    np.testing.assert_array_equal(hard.new_game(seed).observation, first[1])
    assert hard.emulator.cloneSystemState().getDifficulty() == 3


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ale:Pnog", "no game 'Pnog' for one player, did you mean 'Pong'.*muzero-wm envs ale lists"),
        ("ale:ms_pakman", "did you mean 'ms_pacman'"),
        ("ale:Combat", "no game 'Combat' for one player"),
        ("ale:Pong(skip=3)", "no option 'skip' .known: size, grey, .*frame_stack"),
        ("ale:Pong(frame_skp=3)", "did you mean 'frame_skip'"),
        ("ale:Pong(name=3)", "no option 'name'"),
        ("ale:Pong(size=35)", r"size must be a whole number in \[36, 256\], got 35"),
        ("ale:Pong(size=257)", "got 257"),
        ("ale:Pong(size=84.0)", "got 84.0"),
        ("ale:Pong(grey=1)", "grey must be true or false, got 1"),
        ("ale:Pong(life_loss=no)", "life_loss must be true or false, got 'no'"),
        ("ale:Pong(frame_skip=0)", "frame_skip must be a whole number"),
        ("ale:Pong(sticky=1.5)", r"sticky must be a probability in \[0, 1\], got 1.5"),
        ("ale:Pong(sticky=true)", "got True"),
        ("ale:Pong(noop_max=-1)", "noop_max must be"),
        ("ale:Pong(max_frames=30)", r"max_frames must be a whole number in \[31, "),
        ("ale:Pong(mode=77)", "mode must be one of 0, 1, got 77"),
        ("ale:Pong(difficulty=9)", "difficulty must be one of 0, 1, 2, 3, got 9"),
        ("ale:Pong(frame_stack=0)", "frame_stack must be a whole number"),
        ("ale:Pong(channels=last)", "channels=last is for gym:"),
    ],
)
def test_mistakes_are_said_in_one_line(name: str, message: str) -> None:
    with pytest.raises(envs.EnvError, match=message) as caught:
        envs.make(name, 1)
    assert "\n" not in str(caught.value)


def test_a_rom_that_is_not_there_is_told(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALE_ROMS_DIR", str(tmp_path))
    with pytest.raises(envs.EnvError, match=r"ale:Pong: the ROM pong.bin cannot be used .*ALE_ROMS_DIR") as caught:
        envs.make("ale:Pong", 1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("module", "needs"), [("ale_py", "ale-py"), ("cv2", "OpenCV")])
def test_a_package_that_is_missing_is_named(module: str, needs: str) -> None:
    code = f"""
import sys
sys.modules[{module!r}] = None
from muzero_wm import envs
try:
    envs.make("ale:Pong", 1)
except envs.EnvError as error:
    print(error)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert out.stdout.strip() == f'ale:Pong needs {needs}: pip install "muzero-wm[atari]"', out.stderr


def test_check_env_finds_nothing_wrong() -> None:
    """Its episodes are played again from their seeds, so each must begin a game."""
    report = check_env("ale:Breakout(size=48)", quick=True)
    assert not report.findings, [finding.title for finding in report.findings]
    assert report.facts["max_episode_steps"] == 27000


def test_what_cuts_a_long_game_is_named_as_these_names_say_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("muzero_wm.envs.checking.check._PATIENT_SECONDS", 0.0)  # a fast machine plays a game to its end
    (finding,) = check_env("ale:Boxing(size=48)", steps=1).findings
    assert finding.title == "no end in sight"
    assert "ale:Boxing(max_frames=" in finding.remedy and "gym" not in finding.remedy


def test_truth_is_written_in_two_ways_and_names_can_be_changed() -> None:
    name = parse_name("ale:Pong(grey=true, life_loss=False, what=truth)")
    assert name.options == {"grey": True, "life_loss": False, "what": "truth"}
    assert with_options(name, grey=False, size=3) == "ale:Pong(grey=False, life_loss=False, what='truth', size=3)"
    assert with_options(parse_name("gym:a.b:C-v0(channels=last)")) == "gym:a.b:C-v0(channels='last')"
    assert parse_name("gym:a.b:C-v0(channels='last')").channels == "last"


def test_gymnasium_s_own_games_need_no_more_than_their_names(seed: int) -> None:
    """They are something else than the protocol, and planning a run of one says so."""
    env = envs.make("gym:ALE/Pong-v5", 1, seed)
    assert env.spec.observation_shape == (3, 210, 160)
    env.reset()
    assert full_name("ALE/Pong-v5") == "gym:ALE/Pong-v5"
    said = unlike_the_protocol("gym:ALE/Pong-v5")
    assert said is not None and "\n" not in said
    for part in ("gym:ALE/Pong-v5 is not ale:Pong", "stick with probability 0.25", "in colour", "(210, 160, 3)"):
        assert part in said
    said = unlike_the_protocol(
        "gym:ale_py:ALE/MsPacman-v5(obs_type=grayscale, repeat_action_probability=0, frameskip=1)"
    )
    assert said is not None and "ale:MsPacman" in said and "stick" not in said and "1 frame a step" in said
    for name in ("ale:Pong", "gym:CartPole-v1", "connect4", "gym:ALE/NoSuch-v5"):
        assert unlike_the_protocol(name) is None


def test_planning_a_run_of_gymnasium_s_game_tells_what_it_is(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pong.yaml").write_text("extends: cartpole\nenv: gym:ALE/Pong-v5\n")
    told: list[str] = []
    presets.plan_run("pong.yaml", tell=told.append, max_updates=1)
    assert sum("is not ale:Pong" in line for line in told) == 1


def test_the_command_line_lists_the_games(capsys: pytest.CaptureFixture[str], tmp_path: Any) -> None:
    assert cli.main(["envs"]) == 0
    out = capsys.readouterr().out
    assert "ale:GAME" in out and f"{len(games())} games" in out and "muzero-wm envs ale" in out
    assert cli.main(["envs", "ale", "--json", str(tmp_path / "games.json")]) == 0
    out = capsys.readouterr().out
    assert "ale:MsPacman" in out and len(out.split()) == len(games()) and max(map(len, out.splitlines())) <= 80
    assert json.loads((tmp_path / "games.json").read_text())[0] == "ale:Adventure"
