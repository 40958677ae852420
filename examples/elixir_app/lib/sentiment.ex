defmodule Sentiment.Application do
  @moduledoc """
  One Python worker of our own, under our own supervisor, by the name of `:sentiment`.
  """
  use Application

  @impl true
  def start(_type, _args) do
    # What Python may ask of us.
    :ok = :py_port.register_function("weight", fn [word] -> Sentiment.Weights.get(word) end)

    children = [
      Sentiment.Weights,
      :py_port.child_spec(%{
        name: :sentiment,
        path: [Application.get_env(:sentiment, :python, Path.expand("python"))],
        init: {:module, "sentiment"},
        functions: ["weight"],
        call_timeout: 5_000
      })
    ]

    Supervisor.start_link(children, strategy: :rest_for_one, name: Sentiment.Supervisor)
  end
end

defmodule Sentiment.Weights do
  @moduledoc "What each word counts; Python asks for it word by word."
  use Agent

  def start_link(_), do: Agent.start_link(fn -> %{"good" => 1, "great" => 2, "bad" => -1} end, name: __MODULE__)
  def get(word), do: Agent.get(__MODULE__, &Map.get(&1, word, 0))
  def put(word, weight), do: Agent.update(__MODULE__, &Map.put(&1, word, weight))
end

defmodule Sentiment do
  @moduledoc "How friendly a text is: tokenised and summed up in Python, weighed in Elixir."

  @spec score(String.t()) :: {:ok, %{String.t() => term()}} | {:error, term()}
  def score(text), do: :py_port.call(:sentiment, :sentiment, :score, [text])

  @doc "Many texts at the same time, each a coroutine in Python; the answers in the order of the texts."
  @spec score_all([String.t()]) :: [{:ok, map()} | {:error, term()}]
  def score_all(texts) do
    for(text <- texts, do: :py_port.async_call(:sentiment, :sentiment, :score_slowly, [text]))
    |> :py_port.gather()
  end

  @doc "Mean and deviation of many scores: nothing of ours, so any worker of the default pool will do."
  @spec summary([number()]) :: {:ok, %{mean: number(), deviation: number()}} | {:error, term()}
  def summary(scores) do
    case :py.parallel([{:statistics, :fmean, [scores]}, {:statistics, :pstdev, [scores]}]) do
      {:ok, [mean, deviation]} -> {:ok, %{mean: mean, deviation: deviation}}
      {:error, _} = error -> error
    end
  end

  @doc "The words of a text as an Elixir stream, made by a Python generator as they are wanted."
  @spec words(String.t()) :: Enumerable.t()
  def words(text) do
    Stream.resource(
      fn ->
        {:ok, stream} = :py_port.stream(:sentiment, :sentiment, :words, [text])
        stream
      end,
      fn stream ->
        case :py_port.next(stream) do
          {:ok, word} -> {[word], stream}
          :done -> {:halt, stream}
          {:error, reason} -> raise :py_port.format_error(reason)
        end
      end,
      &:py_port.close/1
    )
  end
end
