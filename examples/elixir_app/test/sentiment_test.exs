defmodule SentimentTest do
  use ExUnit.Case

  test "Python computes, and asks Elixir for what it does not know" do
    assert {:ok, %{"words" => 6, "score" => 2}} == Sentiment.score("A great, not bad, start; good")
  end

  test "a weight that changes in Elixir counts in Python at once" do
    Sentiment.Weights.put("superb", 7)
    assert {:ok, %{"score" => 7}} = Sentiment.score("superb")
  end

  test "a thousand coroutines wait at the same time" do
    texts = for n <- 1..1000, do: String.duplicate("good ", rem(n, 7))
    answers = Sentiment.score_all(texts)
    assert for(n <- 1..1000, do: rem(n, 7)) == for({:ok, %{"score" => score}} <- answers, do: score)
  end

  test "a generator is an Elixir stream, and is closed when enough was taken" do
    assert ["to", "be", "or"] == Sentiment.words("To be, or not to be") |> Enum.take(3)
  end

  test "what needs no worker of our own goes to a pool, two questions at the same time" do
    assert {:ok, %{mean: 2.0, deviation: deviation}} = Sentiment.summary([1, 2, 3])
    assert_in_delta deviation, 0.8165, 0.0001
    assert {:error, {~c"StatisticsError", _}} = Sentiment.summary([])
  end

  test "an exception is an error with type, message and traceback" do
    assert {:error, {:python, %{type: "AttributeError", message: message}}} = Sentiment.score(42)
    assert message =~ "lower"
  end

  test "a timeout stops the code, and the worker lives" do
    %{os_pid: pid} = :py_port.info(:sentiment)
    assert {:error, :timeout} = :py_port.call(:sentiment, :time, :sleep, [60], %{}, %{timeout: 50})
    assert {:ok, %{"score" => 1}} = Sentiment.score("good")
    assert %{os_pid: ^pid} = :py_port.info(:sentiment)
  end

  test "a segmentation fault is an error of that call; the supervisor starts the next worker" do
    before = Process.whereis(:sentiment)
    watch = Process.monitor(before)
    assert {:error, {:worker_down, {:worker_killed, :sigsegv, _}}} = :py_port.call(:sentiment, :ctypes, :string_at, [0])
    assert_receive {:DOWN, ^watch, :process, ^before, _}, 5_000
    assert {:ok, %{"score" => 1}} = eventually(fn -> Sentiment.score("good") end)
  end

  # Between two workers a call is {:error, {:worker_down, :noproc}} at once.
  defp eventually(fun) do
    case fun.() do
      {:error, {:worker_down, _}} -> eventually(fun)
      other -> other
    end
  end
end
