"""The command: what it prints, how it ends, and that each flag reaches the replica."""

import asyncio
import signal
import sys
from pathlib import Path

import aiohttp
import pytest

from bench.simulator.__main__ import listing, main
from bench.simulator.config import TransferConfig
from bench.simulator.flags import parser
from bench.simulator.fleet import configs

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_it_says_where_it_listens_and_stops_on_a_signal(number: signal.Signals) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.simulator", "--port", "0", "--replicas", "2", "--model", "m"),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout
    lines = [(await process.stdout.readline()).decode().split() for _ in range(2)]
    assert [line[0] for line in lines] == ["listening", "listening"]
    assert [line[2:] for line in lines] == [["replica=0", "model=m"], ["replica=1", "model=m"]]
    assert lines[0][1] != lines[1][1]
    async with aiohttp.ClientSession() as session:
        body = {"prompt": "x", "max_tokens": 20_000, "stream": True}
        async with session.post(f"http://{lines[1][1]}/v1/completions", json=body) as response:
            await response.content.readline()
            process.send_signal(number)
            assert await process.wait() == 0


def test_flags_reach_the_replicas() -> None:
    line = (
        "--replicas 2 --model m --max-model-len 500 --lora a --lora b --max-loras 3 --mean-output-tokens 9 "
        "--block-size 8 --num-blocks 99 --max-num-seqs 4 --max-num-batched-tokens 77 --speed 2 --fixed-s 0.1 "
        "--prefill-token-s 0.2 --decode-sequence-s 0.3 --cached-token-s 0.4 --jitter 0.5 --seed 6"
    )
    first, second = configs(parser().parse_args(line.split()))
    assert (first.model, first.max_model_len, first.loras, first.speed) == ("m", 500, ("a", "b"), 2.0)
    assert (first.mean_output_tokens, first.seed, second.seed) == (9, 6, 6)
    engine = first.engine
    assert (engine.block_size, engine.num_blocks, engine.max_num_seqs) == (8, 99, 4)
    assert (engine.max_num_batched_tokens, engine.max_loras, engine.jitter) == (77, 3, 0.5)
    times = (engine.fixed_s, engine.prefill_token_s, engine.decode_sequence_s, engine.cached_token_s)
    assert times == (0.1, 0.2, 0.3, 0.4)
    assert (engine.seed, second.engine.seed) == (6, 7)


def test_transfer_flags_reach_the_replicas() -> None:
    line = (
        "--kv-connector nixl --kv-host 127.0.0.2 --kv-port 7000 --kv-lease-seconds 1 --kv-bytes-per-token 2 "
        "--kv-bandwidth 3 --kv-transfer-latency 4 --kv-load-failure-policy recompute"
    )
    (replica,) = configs(parser().parse_args(line.split()))
    assert replica.transfer == TransferConfig(
        host="127.0.0.2",
        port=7000,
        lease_s=1.0,
        bytes_per_token=2,
        bandwidth=3.0,
        latency_s=4.0,
        recompute=True,
    )
    assert replica.transfer.seconds(6) == 4.0 + 6 * 2 / 3.0


def test_without_a_connector_nothing_is_exchanged() -> None:
    assert configs(parser().parse_args(["--kv-port", "7000"]))[0].transfer is None


@pytest.mark.parametrize(
    ("line", "ends"),
    [
        ("", [["replica=0"]]),
        ("--role prefill", [["replica=0", "role=prefill"]]),
        ("--data-parallel-size 2", [["replica=0", "rank=0"], ["replica=0", "rank=1"]]),
        (
            "--replicas 2 --data-parallel-size 2 --data-parallel-mode internal",
            [["replica=0", "ranks=0-1"], ["replica=1", "ranks=0-1"]],
        ),
    ],
)
def test_each_line_says_who_listens(line: str, ends: list[list[str]]) -> None:
    args = parser().parse_args(["--model", "m", *line.split()])
    replicas = configs(args)
    said = [each.split() for each in listing(args, replicas, range(9000, 9000 + len(replicas)))]
    assert [words[:2] for words in said] == [
        ["listening", f"127.0.0.1:{9000 + index}"] for index in range(len(said))
    ]
    assert [[word for word in words[2:] if word != "model=m"] for words in said] == ends


def test_without_adapters_there_is_no_limit_to_them() -> None:
    assert configs(parser().parse_args([]))[0].engine.max_loras == 0


def test_help_explains_every_flag() -> None:
    assert all(action.help for action in parser()._actions)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("--num-blocks 1", "max_model_len is 40960"),
        ("--replicas 0", "replicas is 0"),
        ("--port 65535 --replicas 2", "port is 65535"),
        ("--port -1", "port is -1"),
        ("--speed nan", "speed is nan"),
        ("--speed inf", "speed is inf"),
        ("--fixed-s -1", "fixed_s is -1.0"),
        ("--cached-token-s nan", "cached_token_s is nan"),
        ("--port 65535 --data-parallel-size 2", "port is 65535"),
        ("--data-parallel-size 0", "data_parallel_size is 0"),
        ("--data-parallel-size 2 --data-parallel-start-rank 2", "0 ranks from 2 on"),
        ("--data-parallel-size 2 --data-parallel-size-local 3", "3 ranks from 0 on"),
        ("--kv-connector nixl --kv-port 65535 --replicas 2", "kv_port is 65535"),
        ("--kv-connector nixl --kv-port -1", "kv_port is -1"),
        ("--kv-connector nixl --kv-bandwidth 0", "kv_bandwidth is 0"),
        ("--kv-connector nixl --kv-lease-seconds nan", "kv_lease_seconds is nan"),
        ("--kv-connector nixl --kv-bytes-per-token 0", "kv_bytes_per_token is 0"),
    ],
)
def test_a_senseless_flag_ends_with_its_reason(
    line: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(line.split())
    assert ended.value.code == 2
    assert reason in capsys.readouterr().err
