defmodule Sentiment.MixProject do
  use Mix.Project

  def project do
    [app: :sentiment, version: "1.0.0", elixir: "~> 1.12", deps: deps()]
  end

  def application do
    [mod: {Sentiment.Application, []}, extra_applications: [:logger]]
  end

  # Yours will be {:py_port, git: "...", branch: "main"}.
  defp deps do
    [{:py_port, path: System.get_env("PY_PORT_PATH", "../.."), manager: :rebar3}]
  end
end
